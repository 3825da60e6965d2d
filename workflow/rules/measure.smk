# Measurements. In: folds, samples, log-densities, graders. Out: features/ (of images), measurements/ and divergences/ (one row a number), measurements.csv,
# selected.csv, metrics.json, errors.safetensors


use rule job as extract with:
    """Features of a fold of images or of a point's samples."""
    input:
        files("extract"),
    output:
        "results/{experiment}/features/{features}/{of}.safetensors",
    log:
        "logs/{experiment}/extract/{features}/{of}.log",
    threads: resource("extract", "threads")
    resources:
        **resources("extract"),
    params:
        job=payload("extract"),


use rule job as measure with:
    """All numbers of one point, one row each, and the parts of their errors."""
    input:
        files("measure"),
    output:
        rows="results/{experiment}/measurements/{variant}/{w}/{part}.csv",
        parts="results/{experiment}/measurements/{variant}/{w}/{part}.parts.safetensors",
    log:
        "logs/{experiment}/measure/{variant}/{w}/{part}.log",
    threads: resource("measure", "threads")
    resources:
        **resources("measure"),
    params:
        job=payload("measure"),


use rule job as collect with:
    """Concatenate the rows and choose each variant's weight."""
    input:
        files("collect"),
    output:
        rows="results/{experiment}/measurements.csv",
        selected="results/{experiment}/selected.csv",
        metrics="results/{experiment}/metrics.json",
        discriminators="results/{experiment}/discriminators.csv",
        errors="results/{experiment}/errors.safetensors",
    log:
        "logs/{experiment}/collect.log",
    params:
        job=payload("collect"),


use rule job as diverge with:
    """Divergences of one point along sigma, held out, with their exact values."""
    input:
        files("diverge"),
    output:
        "results/{experiment}/divergences/{variant}/{w}/{part}.csv",
    log:
        "logs/{experiment}/diverge/{variant}/{w}/{part}.log",
    threads: resource("diverge", "threads")
    resources:
        **resources("diverge"),
    params:
        job=payload("diverge"),


use rule job as diverge_null with:
    """The same divergences for real against real."""
    input:
        files("diverge_null"),
    output:
        "results/{experiment}/divergences/null.csv",
    log:
        "logs/{experiment}/diverge_null.log",
    threads: resource("diverge_null", "threads")
    resources:
        **resources("diverge_null"),
    params:
        job=payload("diverge_null"),
