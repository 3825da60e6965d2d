# Samplers. In: models, discriminators. Out: generated/, samples/, grading/ (what graders learn from), density/ (log-densities), fields/ (what figures draw)


use rule job as generate with:
    """Draw the generated side of a guiding discriminator."""
    input:
        files("generate"),
    output:
        "results/{experiment}/generated/{disc}.{array}",
    log:
        "logs/{experiment}/generate/{disc}.{array}.log",
    threads: resource("generate", "threads")
    resources:
        **resources("generate"),
    params:
        job=payload("generate"),


use rule job as sample with:
    """Draw every seed block of one point."""
    input:
        files("sample"),
    output:
        "results/{experiment}/samples/{variant}/{w}/{part}.{array}",
    log:
        "logs/{experiment}/sample/{variant}/{w}/{part}.{array}.log",
    threads: resource("sample", "threads")
    resources:
        **resources("sample"),
    params:
        job=payload("sample"),


use rule job as density with:
    """Exact log-densities under the sampler's ODE."""
    input:
        files("density"),
    output:
        "results/{experiment}/density/{variant}/{w}/{part}.safetensors",
    log:
        "logs/{experiment}/density/{variant}/{w}/{part}.log",
    threads: resource("density", "threads")
    resources:
        **resources("density"),
    params:
        job=payload("density"),


use rule job as grading with:
    """Draw the images a grader is trained on."""
    input:
        files("grading"),
    output:
        "results/{experiment}/grading/{disc}/{variant}/{w}/{part}.json",
    log:
        "logs/{experiment}/grading/{disc}/{variant}/{w}/{part}.log",
    threads: resource("grading", "threads")
    resources:
        **resources("grading"),
    params:
        job=payload("grading"),


use rule job as field with:
    """Evaluate nets on what a figure draws."""
    input:
        files("field"),
    output:
        "results/{experiment}/fields/{figure}.safetensors",
    log:
        "logs/{experiment}/field/{figure}.log",
    threads: resource("field", "threads")
    resources:
        **resources("field"),
    params:
        job=payload("field"),
