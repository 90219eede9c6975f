# The online service: no torch, nothing of the jobs.
#   docker build -f docker/service.Dockerfile -t mmgrec-service .
#   docker build -f docker/service.Dockerfile -t mmgrec-service:gpu --build-arg VARIANT=gpu .
# VARIANT   cpu: onnxruntime. gpu (x86_64): onnxruntime-gpu with CUDA and cuDNN as Python packages; the host gives the driver.
# BASE_IMAGE   Python 3.11 on glibc, the same in all stages; for another CUDA, one of yours that has Python 3.11 too.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS dependencies
ARG VARIANT=cpu
WORKDIR /build
COPY docker/requirements/build.txt docker/requirements/service-${VARIANT}.txt ./
# Two environments, so that what is served has neither pip nor setuptools in it.
RUN python3 -m venv tools \
    && tools/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r build.txt \
    && python3 -m venv --without-pip /opt/mmgrec \
    && tools/bin/pip --python /opt/mmgrec/bin/python install --no-cache-dir --disable-pip-version-check \
        --require-hashes --no-deps -r service-${VARIANT}.txt

FROM dependencies AS builder
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY model model
COPY offline offline
RUN tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
    && tools/bin/pip install --no-cache-dir --no-deps --no-index --no-compile --target project wheels/*.whl \
    && rm -r project/model project/offline \
    && python3 -m compileall -q -s project -p /opt/mmgrec/lib/python3.11/site-packages project

FROM ${BASE_IMAGE}
RUN groupadd --gid 10001 mmgrec \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin mmgrec
# What others wrote and what we wrote, in layers of their own: the next version is a few megabytes.
COPY --from=dependencies /opt/mmgrec /opt/mmgrec
COPY --from=builder /build/project /opt/mmgrec/lib/python3.11/site-packages
COPY docker/healthcheck.py /opt/mmgrec/
# onnxruntime sends what it does to its makers unless it is told not to.
ENV ORT_DISABLE_TELEMETRY=1
ENV PATH=/opt/mmgrec/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MMGREC_HOST=0.0.0.0 MMGREC_PORT=8000
LABEL org.opencontainers.image.title=mmgrec-service org.opencontainers.image.licenses=Apache-2.0
WORKDIR /opt/mmgrec
USER 10001:10001
EXPOSE 8000
# Alive, not ready: without a release the service waits for one, and starting it again would bring none.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-IS", "/opt/mmgrec/healthcheck.py"]
# The process heeds SIGTERM as PID 1 too; docker-compose.yml puts an init in front all the same (`init: true`).
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "service"]
