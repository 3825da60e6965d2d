# What is printed. In: measurements.csv, selected.csv, fields/. Out: results/tables/EXPERIMENT.*, results/figures/EXPERIMENT/FIGURE.*


rule table:
    """The experiment's table as CSV, Markdown and LaTeX."""
    input:
        files("table", "experiment"),
    output:
        csv=report(
            "results/tables/{experiment}.csv",
            caption="../report/table.rst",
            category="Tables",
            subcategory="{experiment}",
        ),
        md="results/tables/{experiment}.md",
        tex="results/tables/{experiment}.tex",
    log:
        "logs/{experiment}/table.log",
    conda:
        "../envs/guidelab.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
    params:
        job=payload("table", "experiment"),
    shell:
        "guidelab table --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"


rule figure:
    """One figure: PDF, PNG and the rows it plots."""
    input:
        files("figure", "experiment", "figure"),
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
    conda:
        "../envs/guidelab.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
    params:
        job=payload("figure", "experiment", "figure"),
    shell:
        "guidelab figure --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"


rule story:
    """What the numbers say, beside what the paper's pictures suggest."""
    input:
        files("story", "experiment"),
    output:
        report(
            "results/tables/{experiment}.story.md",
            caption="../report/story.rst",
            category="Findings",
            subcategory="{experiment}",
        ),
    log:
        "logs/{experiment}/story.log",
    conda:
        "../envs/guidelab.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
    params:
        job=payload("story", "experiment"),
    shell:
        "guidelab story --job {params.job:q} --output {output} --threads {threads} 2> >(tee {log} >&2)"
