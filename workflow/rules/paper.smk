# Tables, figures, findings. In: measurements.csv, selected.csv, divergences/, fields/. Out: results/tables/, results/figures/; and manifests/, what DVC tracks


use rule job as divergences with:
    """All rows about divergences, and their table."""
    input:
        files("divergences"),
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
        sources="results/tables/{experiment}_divergences.sources.csv",
    log:
        "logs/{experiment}/divergences.log",
    params:
        job=payload("divergences"),


use rule job as theorem with:
    """The theorem of discriminator guidance, exactly, for two samplers."""
    input:
        files("theorem"),
    output:
        "results/tables/{experiment}_dg_theorem.csv",
    log:
        "logs/{experiment}/theorem.log",
    params:
        job=payload("theorem"),


use rule job as evaluations with:
    """The evaluations of nets that training scores and discriminators took."""
    input:
        files("evaluations"),
    output:
        "results/tables/{experiment}_costs.csv",
    log:
        "logs/{experiment}/evaluations.log",
    params:
        job=payload("evaluations"),


use rule job as table with:
    """The experiment's table: CSV, Markdown, LaTeX; the rows behind every cell."""
    input:
        files("table"),
    output:
        csv=report(
            "results/tables/{experiment}.csv",
            caption="../report/table.rst",
            category="Tables",
            subcategory="{experiment}",
        ),
        md="results/tables/{experiment}.md",
        tex="results/tables/{experiment}.tex",
        sources="results/tables/{experiment}.sources.csv",
    log:
        "logs/{experiment}/table.log",
    params:
        job=payload("table"),


use rule job as story with:
    """The findings as sentences, next to what the paper's figures suggest."""
    input:
        files("story"),
    output:
        report(
            "results/tables/{experiment}.story.md",
            caption="../report/story.rst",
            category="Findings",
            subcategory="{experiment}",
        ),
    log:
        "logs/{experiment}/story.log",
    params:
        job=payload("story"),


use rule job as figure with:
    """One figure: PDF, PNG and the rows it plots."""
    input:
        files("figure"),
    output:
        pdf="results/figures/{experiment}/{figure}.pdf",
        png=report(
            "results/figures/{experiment}/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            subcategory="{experiment}",
            labels={"figure": "{figure}"},
        ),
        csv="results/figures/{experiment}/{figure}.csv",
    log:
        "logs/{experiment}/figure/{figure}.log",
    params:
        job=payload("figure"),


use rule job as preview with:
    """A few samples of one point as a picture."""
    input:
        files("preview"),
    output:
        report(
            "results/{experiment}/previews/{variant}/{w}/{part}.png",
            caption="../report/preview.rst",
            category="Samples",
            subcategory="{experiment}",
        ),
    log:
        "logs/{experiment}/preview/{variant}/{w}/{part}.log",
    params:
        job=payload("preview"),


rule manifest:
    """List a stage's files and remove those that params.yaml no longer plans."""
    input:
        lambda wildcards: PLAN.stage(wildcards.experiment, wildcards.stage).files,
    output:
        "results/{experiment}/manifests/{stage}.json",
    log:
        "logs/{experiment}/manifest/{stage}.log",
    conda:
        "../envs/guidelab.yaml"
    params:
        stage=lambda wildcards: PLAN.stage(
            wildcards.experiment, wildcards.stage
        ).payload,
    shell:
        "guidelab manifest --output {output} <<< {params.stage:q} 2> >(tee {log} >&2)"
