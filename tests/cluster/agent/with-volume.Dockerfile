# The same agent in an image that asks for a writable volume of its own, as many images do.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}
RUN mkdir -m 777 /declared
VOLUME ["/declared"]
COPY hostile /hostile
ENV PYTHONPATH=/hostile
USER 65532:65532
ENTRYPOINT ["python3", "-c"]
