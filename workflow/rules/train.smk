# Nets. In: params.yaml. Out: results/EXPERIMENT/checkpoints/DENOISER/PART.safetensors (snapshots), models/MODEL.safetensors


rule train:
    """Train a denoiser with one or more seeds; saves its state as it goes and resumes from it."""
    input:
        files("train", "experiment", "denoiser", "part"),
    output:
        checkpoints="results/{experiment}/checkpoints/{denoiser}/{part}.safetensors",
        curve="results/{experiment}/checkpoints/{denoiser}/{part}.csv",
    log:
        "logs/{experiment}/train/{denoiser}/{part}.log",
    conda:
        "../envs/guidelab.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        job=payload("train", "experiment", "denoiser", "part"),
    shell:
        "guidelab train --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"


rule reconstruct:
    """Take a model from the snapshots, at its training length and EMA length."""
    input:
        files("reconstruct", "experiment", "model"),
    output:
        "results/{experiment}/models/{model}.safetensors",
    log:
        "logs/{experiment}/reconstruct/{model}.log",
    conda:
        "../envs/guidelab.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
    params:
        job=payload("reconstruct", "experiment", "model"),
    shell:
        "guidelab reconstruct --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"
