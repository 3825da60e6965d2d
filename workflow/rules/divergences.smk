# Divergences. In: held-out real points, samples, graders, log-densities. Out: nulls/, divergences/ (rows), divergences.csv, their tables


rule grading:
    """Draw the images a grader is trained on, with seeds of its own."""
    input:
        files("grading", "experiment", "disc", "variant", "w", "part"),
    output:
        "results/{experiment}/grading/{disc}/{variant}/{w}/{part}.json",
    log:
        "logs/{experiment}/grading/{disc}/{variant}/{w}/{part}.log",
    conda:
        "../envs/guidelab.yaml"
    threads: need("grading", "threads")
    resources:
        mem_mb=need("grading", "mem_mb"),
        runtime=need("grading", "runtime"),
        gpu=need("grading", "gpu"),
    params:
        job=payload("grading", "experiment", "disc", "variant", "w", "part"),
    shell:
        "guidelab grading --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"


rule null:
    """Train a grader to tell real from real: what it finds is its own error."""
    input:
        files("null", "experiment"),
    output:
        "results/{experiment}/nulls/{disc}.safetensors",
    log:
        "logs/{experiment}/null/{disc}.log",
    conda:
        "../envs/guidelab.yaml"
    threads: need("null", "threads")
    resources:
        mem_mb=need("null", "mem_mb"),
        runtime=need("null", "runtime"),
        gpu=need("null", "gpu"),
    params:
        job=payload("null", "experiment"),
    shell:
        "guidelab null --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"


rule diverge:
    """Every estimate of one point along sigma, each beside its truth."""
    input:
        files("diverge", "experiment", "variant", "w", "part"),
    output:
        "results/{experiment}/divergences/{variant}/{w}/{part}.csv",
    log:
        "logs/{experiment}/diverge/{variant}/{w}/{part}.log",
    conda:
        "../envs/guidelab.yaml"
    threads: need("diverge", "threads")
    resources:
        mem_mb=need("diverge", "mem_mb"),
        runtime=need("diverge", "runtime"),
        gpu=need("diverge", "gpu"),
    params:
        job=payload("diverge", "experiment", "variant", "w", "part"),
    shell:
        "guidelab diverge --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"


rule diverge_null:
    """The same of real against real."""
    input:
        files("diverge_null", "experiment"),
    output:
        "results/{experiment}/divergences/null.csv",
    log:
        "logs/{experiment}/diverge_null.log",
    conda:
        "../envs/guidelab.yaml"
    threads: need("diverge_null", "threads")
    resources:
        mem_mb=need("diverge_null", "mem_mb"),
        runtime=need("diverge_null", "runtime"),
        gpu=need("diverge_null", "gpu"),
    params:
        job=payload("diverge_null", "experiment"),
    shell:
        "guidelab diverge_null --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"


rule divergences:
    """All rows about divergences, and their table as CSV, Markdown and LaTeX."""
    input:
        files("divergences", "experiment"),
    output:
        rows="results/{experiment}/divergences.csv",
        csv=report(
            "results/tables/{experiment}_divergences.csv",
            caption="../report/table.rst",
            category="Tables",
            subcategory="{experiment}",
        ),
        md="results/tables/{experiment}_divergences.md",
        tex="results/tables/{experiment}_divergences.tex",
    log:
        "logs/{experiment}/divergences.log",
    conda:
        "../envs/guidelab.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
    params:
        job=payload("divergences", "experiment"),
    shell:
        "guidelab divergences --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"


rule theorem:
    """The theorem of discriminator guidance, exactly, for the SDE and the ODE sampler."""
    input:
        files("theorem", "experiment"),
    output:
        "results/tables/{experiment}_dg_theorem.csv",
    log:
        "logs/{experiment}/theorem.log",
    conda:
        "../envs/guidelab.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
    params:
        job=payload("theorem", "experiment"),
    shell:
        "guidelab theorem --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"


rule evaluations:
    """What training scores and training discriminators took, in evaluations of nets."""
    input:
        files("evaluations", "experiment"),
    output:
        "results/tables/{experiment}_costs.csv",
    log:
        "logs/{experiment}/evaluations.log",
    conda:
        "../envs/guidelab.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
    params:
        job=payload("evaluations", "experiment"),
    shell:
        "guidelab evaluations --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"
