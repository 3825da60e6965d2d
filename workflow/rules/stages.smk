# Stages: what DVC tracks. In: every file of a stage. Out: its manifest, which also prunes files no longer planned.
rule manifest:
    """List a stage's files and remove those that params.yaml no longer plans."""
    input:
        lambda wildcards: PLAN.experiment(wildcards.experiment)
        .stage(wildcards.stage)
        .files,
    output:
        "results/{experiment}/manifests/{stage}.json",
    log:
        "logs/{experiment}/manifest/{stage}.log",
    conda:
        "../envs/guidelab.yaml"
    params:
        stage=lambda wildcards: PLAN.experiment(wildcards.experiment)
        .stage(wildcards.stage)
        .payload,
    shell:
        "guidelab manifest --stage {params.stage:q} --output {output} 2> >(tee {log} >&2)"
