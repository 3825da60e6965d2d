# Samplers. In: models, discriminators. Out: samples/, density/ (log-densities), fields/ (what figures draw)


rule sample:
    """Draw every seed block of one point of a sweep."""
    input:
        files("sample", "experiment", "variant", "w", "part"),
    output:
        "results/{experiment}/samples/{variant}/{w}/{part}.{array}",
    log:
        "logs/{experiment}/sample/{variant}/{w}/{part}.{array}.log",
    conda:
        "../envs/guidelab.yaml"
    threads: need("sample", "threads")
    resources:
        mem_mb=need("sample", "mem_mb"),
        runtime=need("sample", "runtime"),
        gpu=need("sample", "gpu"),
        slurm_partition=partition("sample"),
    params:
        job=payload("sample", "experiment", "variant", "w", "part"),
    shell:
        "guidelab sample --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"


rule density:
    """Exact log-densities of data and samples under the sampler's ODE."""
    input:
        files("density", "experiment", "variant", "w", "part"),
    output:
        "results/{experiment}/density/{variant}/{w}/{part}.safetensors",
    log:
        "logs/{experiment}/density/{variant}/{w}/{part}.log",
    conda:
        "../envs/guidelab.yaml"
    threads: need("density", "threads")
    resources:
        mem_mb=need("density", "mem_mb"),
        runtime=need("density", "runtime"),
        gpu=need("density", "gpu"),
    params:
        job=payload("density", "experiment", "variant", "w", "part"),
    shell:
        "guidelab density --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"


rule field:
    """Evaluate nets and samplers on what a figure draws."""
    input:
        files("field", "experiment", "figure"),
    output:
        "results/{experiment}/fields/{figure}.safetensors",
    log:
        "logs/{experiment}/field/{figure}.log",
    conda:
        "../envs/guidelab.yaml"
    threads: need("field", "threads")
    resources:
        mem_mb=need("field", "mem_mb"),
        runtime=need("field", "runtime"),
        gpu=need("field", "gpu"),
    params:
        job=payload("field", "experiment", "figure"),
    shell:
        "guidelab field --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"


rule preview:
    """A few samples of one point as a picture."""
    input:
        files("preview", "experiment", "variant", "w", "part"),
    output:
        report(
            "results/{experiment}/previews/{variant}/{w}/{part}.png",
            caption="../report/preview.rst",
            category="Samples",
            subcategory="{experiment}",
        ),
    log:
        "logs/{experiment}/preview/{variant}/{w}/{part}.log",
    conda:
        "../envs/guidelab.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
    params:
        job=payload("preview", "experiment", "variant", "w", "part"),
    shell:
        "guidelab preview --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"
