# syntax=docker/dockerfile:1
#
#   docker build -t sockgw .
#   docker run --read-only -v sockgw:/var/lib/sockgw -v ./demo:/srv/gateway:ro -p 7001:7001 sockgw
#
# The first stage installs sockgw, the second is what runs. docs/deploying.md says more.

ARG PYTHON=3.14

FROM python:${PYTHON}-slim AS build
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY gateway ./gateway
COPY schema ./schema
RUN python -m venv /opt/sockgw \
    && /opt/sockgw/bin/python -m pip install --no-cache-dir -c constraints.txt '.[jwt,nats,redis]'

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="sockgw" \
      org.opencontainers.image.description="A Socket.IO gateway, declared in YAML and reloaded while it serves" \
      org.opencontainers.image.licenses="MIT"
RUN useradd --uid 10001 --user-group --create-home --home-dir /var/lib/sockgw sockgw
COPY --from=build /opt/sockgw /opt/sockgw
ENV PATH="/opt/sockgw/bin:${PATH}" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    XDG_STATE_HOME=/var/lib
USER 10001:10001
WORKDIR /srv/gateway
EXPOSE 7001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s \
    CMD ["sockgw", "healthcheck", "gateway.yaml"]
ENTRYPOINT ["sockgw"]
CMD ["run", "gateway.yaml", "--host", "0.0.0.0", "--last-good", "--log-format", "json"]
