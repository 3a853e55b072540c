# The registry's torch wheels bring their own CUDA libraries, so a slim image is enough; start it
# with `--gpus all` where there is a GPU.
FROM python:3.11-slim

WORKDIR /opt/medcnn
COPY pyproject.toml constraints.txt README.md LICENSE CHANGELOG.md ./
COPY configs configs
COPY src src
RUN pip install --no-cache-dir -c constraints.txt .

# runs/ and the cache live on volumes, so that results and decoded pixels outlast the container
ENV MEDCNN_CACHE=/cache
VOLUME ["/cache", "/work"]
WORKDIR /work
ENTRYPOINT ["medcnn"]
CMD ["--help"]
