# Two images from one file, both without a compiler and without network at run time:
#   docker build --target page -t musediff .
#   docker run --rm -p 7860:7860 musediff                                          the page, http://localhost:7860
#   docker build --target train -t musediff-train .
#   docker run --rm -v "$PWD/data:/data" musediff-train data build --all /data --out /data/clips.npz
#   docker run --rm -v "$PWD/data:/data" musediff-train train slots-small --data /data/clips.npz --out /data/run
# For an NVIDIA GPU add to the second build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126, to its runs --gpus all --shm-size 1g

FROM python:3.12-slim AS base
# The index that torch comes from; empty: whatever PyPI has.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH_VERSION=2.13.0
# GOMP_SPINCOUNT: an OpenMP thread that waits must not keep others from the processor.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/musediff GOMP_SPINCOUNT=0 MPLBACKEND=Agg MPLCONFIGDIR=/tmp/matplotlib
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "torch==$TORCH_VERSION"
RUN useradd --create-home --uid 1000 musediff
WORKDIR /musediff
COPY requirements.txt ./


FROM base AS train
# All but the page and the sound; scikit-learn for the map of the embeddings (evaluate --plots), TensorBoard for the curves.
RUN grep -vE '^(gradio|pyfluidsynth|midirenderer)' requirements.txt > train.txt && pip install --no-cache-dir -r train.txt "scikit-learn>=1.5" "tensorboard>=2.16"
COPY --chown=musediff assets assets
COPY --chown=musediff musediff musediff
COPY --chown=musediff train train
USER musediff
ENTRYPOINT ["python", "-m", "musediff"]
CMD ["train", "--help"]


# The last target is the one that a plain `docker build .` makes.
FROM base AS page
COPY packages.txt ./
RUN apt-get update && xargs -a packages.txt apt-get install -y --no-install-recommends && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir -r requirements.txt
COPY --chown=musediff assets assets
COPY --chown=musediff soundfonts soundfonts
COPY --chown=musediff musediff musediff
COPY --chown=musediff demo demo
COPY --chown=musediff app.py ./
USER musediff
ENV GRADIO_ANALYTICS_ENABLED=False
EXPOSE 7860
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/', timeout=5)"]
CMD ["python", "app.py", "--host", "0.0.0.0", "--port", "7860"]
