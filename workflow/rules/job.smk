# The base of all rules: each adds its files and parameters; the command is the same


rule job:
    """The base of all rules: read the planned files, run one command with the job's JSON on standard input."""
    output:
        "results/{experiment}/.job",
    log:
        "logs/{experiment}/job.log",
    conda:
        "../envs/guidelab.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
    params:
        job="",
    shell:
        "guidelab run --output {output} --threads {threads} <<< {params.job:q} 2> >(tee {log} >&2)"
