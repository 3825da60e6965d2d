# Numbers. In: samples, log-densities, graders. Out: features/ (of images), measurements/ (one row a number), measurements.csv, selected.csv, metrics.json


rule extract:
    """Features of a fold of images, or of the samples of one point."""
    input:
        files("extract", "experiment", "features", "of"),
    output:
        "results/{experiment}/features/{features}/{of}.safetensors",
    log:
        "logs/{experiment}/extract/{features}/{of}.log",
    conda:
        "../envs/guidelab.yaml"
    threads: need("extract", "threads")
    resources:
        mem_mb=need("extract", "mem_mb"),
        runtime=need("extract", "runtime"),
        gpu=need("extract", "gpu"),
        slurm_partition=partition("extract"),
    params:
        job=payload("extract", "experiment", "features", "of"),
    shell:
        "guidelab extract --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"


rule measure:
    """All numbers of one point of a sweep, one row each."""
    input:
        files("measure", "experiment", "variant", "w", "part"),
    output:
        "results/{experiment}/measurements/{variant}/{w}/{part}.csv",
    log:
        "logs/{experiment}/measure/{variant}/{w}/{part}.log",
    conda:
        "../envs/guidelab.yaml"
    threads: need("measure", "threads")
    resources:
        mem_mb=need("measure", "mem_mb"),
        runtime=need("measure", "runtime"),
        gpu=need("measure", "gpu"),
    params:
        job=payload("measure", "experiment", "variant", "w", "part"),
    shell:
        "guidelab measure --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"


rule collect:
    """Concatenate the rows and choose each variant's weight on its own seed block."""
    input:
        files("collect", "experiment"),
    output:
        rows="results/{experiment}/measurements.csv",
        selected="results/{experiment}/selected.csv",
        metrics="results/{experiment}/metrics.json",
        discriminators="results/{experiment}/discriminators.csv",
    log:
        "logs/{experiment}/collect.log",
    conda:
        "../envs/guidelab.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
    params:
        job=payload("collect", "experiment"),
    shell:
        "guidelab collect --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"
