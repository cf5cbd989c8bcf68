# syntax=docker/dockerfile:1
ARG PYTHON=3.11

# What is installed here and copied below: the libraries, each by its hash, and the code with its bytecode.
FROM python:${PYTHON}-slim AS build
COPY requirements-production.lock /tmp/
RUN python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check \
        --require-hashes --only-binary :all: -r /tmp/requirements-production.lock
WORKDIR /app
COPY agent agent
COPY persistence persistence
COPY resolvers resolvers
COPY runs runs
COPY schema schema
COPY server server
COPY web web
RUN /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash . \
    && printf '%s\n' '#!/opt/venv/bin/python' 'import sys' 'from server.cli import main' 'sys.exit(main())' \
        > /opt/venv/bin/loquent \
    && chmod 755 /opt/venv/bin/loquent

FROM python:${PYTHON}-slim
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Loquent" \
      org.opencontainers.image.description="A self-hosted GraphQL server for chat with an AI agent" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
# Nothing is written but to /tmp, and that only by Python itself: the root may be read-only.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LOQUENT_HOST=0.0.0.0
WORKDIR /app
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=8s --start-period=20s CMD ["python", "-m", "server.probe"]
# Then replies finish or are handed over, within LOQUENT_GRACE_SECONDS and a few: `docker stop --timeout 45`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["loquent"]
CMD ["serve"]
