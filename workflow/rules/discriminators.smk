# Discriminators. In: real folds, generated samples. Out: discriminators/DISC.safetensors (they guide), graders/ (they never do)


rule generate:
    """Draw the generated side of a guiding discriminator."""
    input:
        files("generate", "experiment", "disc"),
    output:
        "results/{experiment}/generated/{disc}.{array}",
    log:
        "logs/{experiment}/generate/{disc}.{array}.log",
    conda:
        "../envs/guidelab.yaml"
    threads: need("generate", "threads")
    resources:
        mem_mb=need("generate", "mem_mb"),
        runtime=need("generate", "runtime"),
        gpu=need("generate", "gpu"),
        slurm_partition=partition("generate"),
    params:
        job=payload("generate", "experiment", "disc"),
    shell:
        "guidelab generate --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"


rule discriminate:
    """Train a discriminator that guides, one for each training seed."""
    input:
        files("discriminate", "experiment", "disc"),
    output:
        "results/{experiment}/discriminators/{disc}.safetensors",
    log:
        "logs/{experiment}/discriminate/{disc}.log",
    conda:
        "../envs/guidelab.yaml"
    threads: need("discriminate", "threads")
    resources:
        mem_mb=need("discriminate", "mem_mb"),
        runtime=need("discriminate", "runtime"),
        gpu=need("discriminate", "gpu"),
        slurm_partition=partition("discriminate"),
    params:
        job=payload("discriminate", "experiment", "disc"),
    shell:
        "guidelab discriminate --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"


rule grade:
    """Train a discriminator that grades one sampler, on samples and real data of its own."""
    input:
        files("grade", "experiment", "disc", "variant", "w", "part"),
    output:
        "results/{experiment}/graders/{disc}/{variant}/{w}/{part}.safetensors",
    log:
        "logs/{experiment}/grade/{disc}/{variant}/{w}/{part}.log",
    conda:
        "../envs/guidelab.yaml"
    threads: need("grade", "threads")
    resources:
        mem_mb=need("grade", "mem_mb"),
        runtime=need("grade", "runtime"),
        gpu=need("grade", "gpu"),
    params:
        job=payload("grade", "experiment", "disc", "variant", "w", "part"),
    shell:
        "guidelab grade --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"
