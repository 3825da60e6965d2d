# The environment of requirements.lock with guidelab installed; the study is mounted at /study:
#
#   docker build -t guidelab .
#   docker run --rm -v "$PWD":/study guidelab snakemake -c4 results/tables/toy2d.csv
FROM python:3.11-slim-bookworm

# g++ compiles trainings (torch.compile), git gives the commit of a run
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ git make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/guidelab
COPY requirements.lock ./
RUN python -m pip install --no-cache-dir --requirement requirements.lock
COPY pyproject.toml setup.py README.md LICENSE Snakefile params.yaml ./
COPY src src
COPY workflow workflow
RUN python -m pip install --no-cache-dir --no-deps --no-build-isolation .

WORKDIR /study
CMD ["guidelab", "--help"]
