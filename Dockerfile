# One image for every process: `reftide edge` by default, `reftide worker` and the other
# commands by argument.

# A tag may be moved. Name the image by its digest to build the same again: docs/operating.md.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# What changes rarely comes first, so that a change of code reuses the layer below it.
COPY requirements.txt requirements-image.txt requirements-build.txt ./
RUN python -m venv /opt/reftide \
 && /opt/reftide/bin/pip install --no-deps --require-hashes -r requirements.txt -r requirements-image.txt \
 && pip install --require-hashes -r requirements-build.txt

COPY LICENSE README.md pyproject.toml schema.sql ./
COPY ingest ingest
COPY workers workers
COPY scripts scripts
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/reftide/bin/pip install --no-deps --no-index /wheels/*.whl


FROM ${PYTHON_IMAGE}

# A volume takes over whose the directory is that it is mounted on.
RUN useradd --system --uid 10001 --home-dir /var/lib/reftide --create-home reftide \
 && install --directory --owner=reftide --mode=700 /var/lib/reftide/archive
COPY --from=build /opt/reftide /opt/reftide

ENV PATH=/opt/reftide/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    REFTIDE_DATA=/var/lib/reftide \
    REFTIDE_HOST=0.0.0.0

USER reftide
WORKDIR /var/lib/reftide
EXPOSE 8080
CMD ["reftide", "edge"]
