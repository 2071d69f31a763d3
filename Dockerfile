# One image for everything of ours that runs in a cluster. `make wheels` fills build/wheels first:
# the build itself needs no network, and installs only what requirements/ lists by hash.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
COPY build/wheels /wheels
COPY requirements/runtime.txt /
# pip is a wheel like the others; Python runs it from there.
RUN PYTHONPATH="$(echo /wheels/pip-*.whl)" python3 -m pip install --no-cache-dir --no-index \
      --find-links /wheels --require-hashes --target /opt/anchorhold --requirement /runtime.txt
COPY operator/anchorhold /opt/anchorhold/anchorhold
RUN python3 -m compileall -q /opt/anchorhold

FROM ${BASE}
COPY --from=build /opt/anchorhold /opt/anchorhold
# For the survey: a node that honours this would honour an agent's too, and nothing would size it.
VOLUME /opt/anchorhold/volume
ENV PYTHONPATH=/opt/anchorhold PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["python3", "-m", "anchorhold"]
