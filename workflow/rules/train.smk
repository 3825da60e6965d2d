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
    threads: need("train", "threads")
    resources:
        mem_mb=need("train", "mem_mb"),
        runtime=need("train", "runtime"),
        gpu=need("train", "gpu"),
        slurm_partition=partition("train"),
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
    threads: need("reconstruct", "threads")
    resources:
        mem_mb=need("reconstruct", "mem_mb"),
        runtime=need("reconstruct", "runtime"),
        gpu=need("reconstruct", "gpu"),
    params:
        job=payload("reconstruct", "experiment", "model"),
    shell:
        "guidelab reconstruct --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"
