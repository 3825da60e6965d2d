# Real data. In: the dataset of params.yaml. Out: results/EXPERIMENT/data/FOLD.safetensors (points) or .zip (images)


rule prepare:
    """Draw or read one fold of real data."""
    input:
        files("prepare", "experiment", "fold"),
    output:
        "results/{experiment}/data/{fold}.{data}",
    log:
        "logs/{experiment}/prepare/{fold}.{data}.log",
    priority: 9  # images that are missing or broken are found before anything is computed
    conda:
        "../envs/guidelab.yaml"
    threads: need("prepare", "threads")
    resources:
        mem_mb=need("prepare", "mem_mb"),
        runtime=need("prepare", "runtime"),
        gpu=need("prepare", "gpu"),
    params:
        job=payload("prepare", "experiment", "fold"),
    shell:
        "guidelab prepare --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"
