# The operator's image. Works with BuildKit and with the classic builder.
#   docker build --build-arg VERSION=0.1.0 -t scheduledjobs:0.1.0 .
# Handlers of your own: see examples/handlers, or mount a module (the chart's handlers.configMap).
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements/ /src/requirements/
RUN python3 -m venv /opt/scheduledjobs \
    && /opt/scheduledjobs/bin/pip install --quiet --require-hashes --only-binary :all: -r /src/requirements/run.txt \
    && python3 -m venv /opt/build \
    && /opt/build/bin/pip install --quiet --require-hashes --only-binary :all: -r /src/requirements/build.txt
COPY pyproject.toml README.md /src/
COPY migrations/ /src/migrations/
COPY operator/ /src/operator/
RUN cd /src && /opt/build/bin/hatchling build --target wheel --directory /tmp/dist \
    && /opt/scheduledjobs/bin/pip install --quiet --no-deps /tmp/dist/scheduledjobs-*.whl \
    && find /opt/scheduledjobs -type d -name tests -prune -exec rm -r {} + \
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/scheduledjobs/lib

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="scheduledjobs" \
    org.opencontainers.image.description="Recurring jobs on Kubernetes with exactly one record for every due moment" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/scheduledjobs /opt/scheduledjobs
# A home that is not there: whatever the user id is, nothing is read from or written to one.
ENV PATH=/opt/scheduledjobs/bin:$PATH HOME=/nonexistent PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
EXPOSE 8080 9090
ENTRYPOINT ["scheduledjobs"]
CMD ["run"]
