# One image for every role: `docker run … bridge up`, `… ingress`, `… consume crm`, `… topology apply`.
# Plain Dockerfile syntax, so that BuildKit, the classic builder, Buildah and Kaniko all build it.
ARG BASE_IMAGE=python:3.11-slim-bookworm

# hadolint ignore=DL3006 - the tag is part of BASE_IMAGE
FROM ${BASE_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# No pip in the environment that is shipped: the base image's own installs into it from outside.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/bridge
WORKDIR /src
# The dependencies first: they change less often than the code, and this layer is kept.
COPY requirements.txt requirements-build.txt ./
RUN /opt/build/bin/pip install --require-hashes --only-binary=:all: --requirement requirements-build.txt \
    && /opt/build/bin/pip --python /opt/bridge/bin/python install --require-hashes --only-binary=:all: \
        --requirement requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY bridge bridge
COPY consumers consumers
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/build/bin/pip --python /opt/bridge/bin/python install --no-deps /wheels/*.whl

# hadolint ignore=DL3006 - as above
FROM ${BASE_IMAGE}
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="notification-bridge" \
      org.opencontainers.image.description="Stores webhook notifications on Kafka, RabbitMQ or an embedded log before it answers 200" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# The only place that is ever written, beside /tmp: mount a volume here to keep the embedded log.
# A numeric user, so that an orchestrator can tell that it is not root.
RUN mkdir -p /var/lib/notification-bridge/var \
    && chown -R 10001:10001 /var/lib/notification-bridge \
    && chmod 700 /var/lib/notification-bridge
COPY --from=build /opt/bridge /opt/bridge
ENV PATH=/opt/bridge/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    BRIDGE_HOST=0.0.0.0 \
    BRIDGE_ADMIN_HOST=0.0.0.0
USER 10001:10001
WORKDIR /var/lib/notification-bridge
VOLUME /var/lib/notification-bridge
EXPOSE 8080 8081
# Without a proxy, whatever the environment says; ready, so that a role that drains or has failed shows.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('BRIDGE_ADMIN_PORT') or 8081), timeout=4); c.request('GET', '/health/ready'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["bridge"]
CMD ["up"]
