# Data. In: the dataset of params.yaml, files the user fetched (workflow/resources/checkpoints.csv). Out: data/ (folds), obtained/ (pretrained
# nets and statistics as safetensors), latents/; of smoke experiments synthetic/


use rule job as prepare with:
    """Draw or read one fold of real data."""
    input:
        files("prepare"),
    output:
        "results/{experiment}/data/{fold}.{data}",
    log:
        "logs/{experiment}/prepare/{fold}.{data}.log",
    priority: 9  # images that are missing or broken are found before anything is computed
    threads: resource("prepare", "threads")
    resources:
        **resources("prepare"),
    params:
        job=payload("prepare"),


use rule job as synthesize with:
    """Make synthetic images and checkpoints for a smoke experiment."""
    input:
        files("synthesize"),
    output:
        "results/{experiment}/synthetic/files.json",
    log:
        "logs/{experiment}/synthesize.log",
    threads: resource("synthesize", "threads")
    resources:
        **resources("synthesize"),
    params:
        job=payload("synthesize"),


use rule job as obtain with:
    """Convert a pretrained file to safetensors, after checking it."""
    input:
        files("obtain"),
    output:
        "results/{experiment}/obtained/{kind}/{name}.safetensors",
    log:
        "logs/{experiment}/obtain/{kind}/{name}.log",
    priority: 10  # files that do not hold what they should are found before anything else is computed
    threads: resource("obtain", "threads")
    resources:
        **resources("obtain"),
    params:
        job=payload("obtain"),


use rule job as encode with:
    """Encode a fold or a guide's samples with the autoencoder."""
    input:
        files("encode"),
    output:
        "results/{experiment}/latents/{side}.zip",
    log:
        "logs/{experiment}/encode/{side}.log",
    threads: resource("encode", "threads")
    resources:
        **resources("encode"),
    params:
        job=payload("encode"),
