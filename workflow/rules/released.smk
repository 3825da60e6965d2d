# What others released. In: files the user fetched, named in workflow/resources/checkpoints.csv. Out: obtained/, latents/; of smoke experiments synthetic/


rule synthesize:
    """Make up what a smoke experiment runs on: pictures, and checkpoints in the released formats."""
    input:
        files("synthesize", "experiment"),
    output:
        "results/{experiment}/synthetic/files.json",
    log:
        "logs/{experiment}/synthesize.log",
    conda:
        "../envs/guidelab.yaml"
    threads: need("synthesize", "threads")
    resources:
        mem_mb=need("synthesize", "mem_mb"),
        runtime=need("synthesize", "runtime"),
        gpu=need("synthesize", "gpu"),
    params:
        job=payload("synthesize", "experiment"),
    shell:
        "guidelab synthesize --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"


rule obtain:
    """Bring a released file into our form: a net, a discriminator, an autoencoder, statistics to compare with."""
    input:
        files("obtain", "experiment", "kind", "name"),
    output:
        "results/{experiment}/obtained/{kind}/{name}.safetensors",
    log:
        "logs/{experiment}/obtain/{kind}/{name}.log",
    priority: 10  # files that are not what they should be are found before anything else is computed
    conda:
        "../envs/guidelab.yaml"
    threads: need("obtain", "threads")
    resources:
        mem_mb=need("obtain", "mem_mb"),
        runtime=need("obtain", "runtime"),
        gpu=need("obtain", "gpu"),
    params:
        job=payload("obtain", "experiment", "kind", "name"),
    shell:
        "guidelab obtain --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"


rule encode:
    """Encode a fold, or the samples a guide learns from, with the autoencoder."""
    input:
        files("encode", "experiment", "side"),
    output:
        "results/{experiment}/latents/{side}.zip",
    log:
        "logs/{experiment}/encode/{side}.log",
    conda:
        "../envs/guidelab.yaml"
    threads: need("encode", "threads")
    resources:
        mem_mb=need("encode", "mem_mb"),
        runtime=need("encode", "runtime"),
        gpu=need("encode", "gpu"),
        slurm_partition=partition("encode"),
    params:
        job=payload("encode", "experiment", "side"),
    shell:
        "guidelab encode --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"
