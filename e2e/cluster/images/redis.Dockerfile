# Redis as the tests' pods run it: Debian's package, in the manners of the official image (uid 999, port 6379, /data).
ARG BASE
FROM ${BASE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends redis-server \
 && rm -rf /var/lib/apt/lists/* /etc/redis \
 && mkdir /data \
 && chown 999:999 /data
WORKDIR /data
USER 999:999
EXPOSE 6379
# A pod's network is its protection, as it is for the official image, which has no password either.
CMD ["redis-server", "--protected-mode", "no", "--dir", "/data"]
