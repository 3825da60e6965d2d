# Numbers. In: samples, log-densities, graders. Out: measurements/ (one row a number), measurements.csv, selected.csv, metrics.json


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
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
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
