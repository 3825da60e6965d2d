# Real data. In: the dataset of params.yaml. Out: results/EXPERIMENT/data/FOLD.safetensors (points) or .zip (images)


rule prepare:
    """Draw or read one fold of real data."""
    output:
        "results/{experiment}/data/{fold}.{data}",
    log:
        "logs/{experiment}/prepare/{fold}.{data}.log",
    conda:
        "../envs/guidelab.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
    params:
        job=payload("prepare", "experiment", "fold"),
    shell:
        "guidelab prepare --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"
