# Everything that is installed is locked by its hash; the base is not, so give it with a digest where that counts.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
# /app is filled from outside: what serves has no pip.
RUN python3 -m venv /build && python3 -m venv --without-pip /app
COPY requirements-image.lock ./
RUN /build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements-image.lock
COPY requirements.lock ./
RUN /build/bin/pip --python /app/bin/python3 install --no-cache-dir --require-hashes --only-binary :all: \
    -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY pdm_service pdm_service
COPY adapters adapters
COPY migrations migrations
RUN /build/bin/pip wheel --no-index --no-deps --no-build-isolation -w /wheels . \
    && /build/bin/pip --python /app/bin/python3 install --no-index --no-deps -f /wheels pool-domain-manager
RUN /build/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --validate \
    -o /app/sbom.cdx.json /app/bin/python3

FROM ${PYTHON_IMAGE}
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH
# The official bases have no bytecode of Python's own library. What the service loads of it is compiled once, here:
# each start would do it anew, which takes nearly as long as the rest of a start.
RUN ["pdm", "serve", "--help"]
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s \
    CMD ["python3", "-c", "import http.client, os, ssl, sys; at = os.environ.get('PDM_HOST') or '127.0.0.1', int(os.environ.get('PORT') or 8080); c = http.client.HTTPSConnection(*at, context=ssl._create_unverified_context()) if os.environ.get('PDM_TLS_CERT_FILE') else http.client.HTTPConnection(*at); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["pdm"]
CMD ["serve"]
# Last, for they differ in each build.
ARG VERSION
ARG REVISION
ARG CREATED
ARG SOURCE
LABEL org.opencontainers.image.title="pool-domain-manager" \
      org.opencontainers.image.description="Hands out DNS names to new platforms and makes them real in DNS" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"
