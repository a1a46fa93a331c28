# One image, one binary. It runs the whole platform with a PostgreSQL inside, or,
# given the settings of a cluster, any single role.

FROM rust:1-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake g++ libcurl4-openssl-dev libssl-dev libzstd-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --locked --release --bin comanda

FROM debian:bookworm-slim
# Debian's own cluster would be baked into the image and never used.
RUN apt-get update \
    && apt-get install -y --no-install-recommends postgresql-common \
    && mkdir -p /etc/postgresql-common/createcluster.d \
    && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/comanda.conf \
    && apt-get install -y --no-install-recommends ca-certificates curl libssl3 postgresql tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --user-group --create-home --home-dir /var/lib/comanda --shell /usr/sbin/nologin comanda
COPY --from=build /src/target/release/comanda /usr/local/bin/comanda

USER comanda
WORKDIR /var/lib/comanda
VOLUME /var/lib/comanda
ENV COMANDA_DATA=/var/lib/comanda/data \
    COMANDA_HTTP__HOST=0.0.0.0
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s \
    CMD ["curl", "--fail", "--silent", "--output", "/dev/null", "http://127.0.0.1:8080/health/ready"]

# Reaps what a killed PostgreSQL leaves behind, which a first process must.
ENTRYPOINT ["tini", "--", "comanda"]
CMD ["up"]
