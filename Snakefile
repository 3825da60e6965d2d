# guidelab: params.yaml in, tables and figures out. Every rule is file names, parameters and one command.
#
#   snakemake -c2                                    what `default` in params.yaml names
#   snakemake -c2 results/tables/toy2d.csv           one table, and all it needs
#   snakemake -c2 results/figures/toy2d/sweep.pdf    one figure
#   snakemake --profile slurm results/tables/toy2d.csv
#   snakemake -c2 --config params=mine.yaml          another parameters file


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/job.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/sample.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/paper.smk"


localrules:
    all,
    collect,
    divergences,
    theorem,
    evaluations,
    table,
    figure,
    story,
    preview,
    manifest,


rule all:
    default_target: True
    input:
        [
            path
            for name in PLAN.spec.default
            for stage in PLAN.stages(name)
            for path in (*stage.files, stage.manifest)
        ],
