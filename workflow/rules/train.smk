# Nets. In: params.yaml, folds, samples. Out: checkpoints/ (snapshots), models/, discriminators/ (for guidance), graders/ and nulls/ (for measurement only)


use rule job as train with:
    """Train a denoiser, resumable, keeping snapshots."""
    input:
        files("train"),
    output:
        checkpoints="results/{experiment}/checkpoints/{denoiser}/{part}.safetensors",
        curve="results/{experiment}/checkpoints/{denoiser}/{part}.csv",
    log:
        "logs/{experiment}/train/{denoiser}/{part}.log",
    threads: resource("train", "threads")
    resources:
        **resources("train"),
    params:
        job=payload("train"),


use rule job as reconstruct with:
    """Take a model at its training and EMA length."""
    input:
        files("reconstruct"),
    output:
        "results/{experiment}/models/{model}.safetensors",
    log:
        "logs/{experiment}/reconstruct/{model}.log",
    threads: resource("reconstruct", "threads")
    resources:
        **resources("reconstruct"),
    params:
        job=payload("reconstruct"),


use rule job as discriminate with:
    """Train a guiding discriminator or a classifier."""
    input:
        files("discriminate"),
    output:
        "results/{experiment}/discriminators/{disc}.safetensors",
    log:
        "logs/{experiment}/discriminate/{disc}.log",
    threads: resource("discriminate", "threads")
    resources:
        **resources("discriminate"),
    params:
        job=payload("discriminate"),


use rule job as grade with:
    """Train the discriminator that grades one point."""
    input:
        files("grade"),
    output:
        "results/{experiment}/graders/{disc}/{variant}/{w}/{part}.safetensors",
    log:
        "logs/{experiment}/grade/{disc}/{variant}/{w}/{part}.log",
    threads: resource("grade", "threads")
    resources:
        **resources("grade"),
    params:
        job=payload("grade"),


use rule job as null with:
    """Train the null discriminator (real against real), a negative control."""
    input:
        files("null"),
    output:
        "results/{experiment}/nulls/{disc}.safetensors",
    log:
        "logs/{experiment}/null/{disc}.log",
    threads: resource("null", "threads")
    resources:
        **resources("null"),
    params:
        job=payload("null"),
