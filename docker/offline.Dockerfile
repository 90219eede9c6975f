# The jobs: python -m offline, with PyTorch of the version in constraints.txt.
#   docker build -f docker/offline.Dockerfile -t mmgrec-offline .
# TORCH_INDEX   address of a package index with PyTorch's CPU build, as in install.sh: 2 GB in place of 6. Without one,
#               pip's own index gives the build with CUDA, which trains on CPUs as well.
# BASE_IMAGE    Python 3.11 on glibc, the same in all stages.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS dependencies
ARG TORCH_INDEX=
WORKDIR /build
COPY docker/requirements/build.txt docker/requirements/offline.txt constraints.txt ./
RUN python3 -m venv tools \
    && tools/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r build.txt \
    && python3 -m venv --without-pip /opt/mmgrec \
    && tools/bin/pip --python /opt/mmgrec/bin/python install --no-cache-dir --disable-pip-version-check \
        --require-hashes --no-deps -r offline.txt
# Its version is pinned, its build is not: which one it is depends on where the image is made.
RUN torch=$(sed -n 's/^\(torch==[^ ;]*\).*/\1/p' constraints.txt) \
    && tools/bin/pip --python /opt/mmgrec/bin/python install --no-cache-dir --disable-pip-version-check \
        -c constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "$torch${TORCH_INDEX:++cpu}"

FROM dependencies AS builder
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY model model
COPY offline offline
RUN tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
    && tools/bin/pip install --no-cache-dir --no-deps --no-index --no-compile --target project wheels/*.whl \
    && python3 -m compileall -q -s project -p /opt/mmgrec/lib/python3.11/site-packages project

FROM ${BASE_IMAGE}
# /data holds the dataset, /runs the runs; a named volume that is mounted there is the user's from the first moment.
RUN groupadd --gid 10001 mmgrec \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin mmgrec \
    && install -d -o 10001 -g 10001 /data /runs
# What others wrote and what we wrote, in layers of their own: the next version is a few megabytes.
COPY --from=dependencies /opt/mmgrec /opt/mmgrec
COPY --from=builder /build/project /opt/mmgrec/lib/python3.11/site-packages
COPY docker/retrain_schedule.py /opt/mmgrec/
# onnxruntime sends what it does to its makers unless it is told not to.
ENV ORT_DISABLE_TELEMETRY=1
ENV PATH=/opt/mmgrec/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
LABEL org.opencontainers.image.title=mmgrec-offline org.opencontainers.image.licenses=Apache-2.0
WORKDIR /runs
USER 10001:10001
ENTRYPOINT ["python", "-m", "offline"]
CMD ["--help"]
