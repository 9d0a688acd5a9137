#!/usr/bin/env bash
# A Spark 3 standalone cluster on loopback: a master, workers, and beside each worker a pool of Python workers.
#
#   deploy/spark/cluster.sh start DIR     start it, with its logs and process ids in DIR; prints its runner profile, DIR/cluster.yaml
#   deploy/spark/cluster.sh stop DIR      stop it
#
# PYTHON (python3) has Sluice and pyspark. WORKERS (2) and CORES (1 a worker) say how large it is, MEMORY (1g) what each
# executor may take, MASTER_PORT (7077) and POOL_PORT (50000) where it listens.
#
# Every worker has an address of its own, 127.0.0.11 and up, and finds its pool under the name "worker-pool": as machines of a
# real cluster find theirs under "localhost".
set -euo pipefail

PYTHON=${PYTHON:-python3} WORKERS=${WORKERS:-2} CORES=${CORES:-1} MEMORY=${MEMORY:-1g}
MASTER_PORT=${MASTER_PORT:-7077} POOL_PORT=${POOL_PORT:-50000}

fail() { echo "cluster.sh: $*" >&2; exit 2; }

# launch NAME COMMAND...: start a process that outlives this script; its id is in DIR/NAME.pid, what it prints in DIR/NAME.log.
launch() {
    local name=$1
    shift
    setsid "$@" >"$dir/$name.log" 2>&1 </dev/null &
    echo $! >"$dir/$name.pid"
}

# await NAME TEXT: wait until the log of a process holds a text.
await() {
    for _ in $(seq 300); do
        grep -q "$2" "$dir/$1.log" && return
        kill -0 "$(cat "$dir/$1.pid")" 2>/dev/null || break
        sleep 0.2
    done
    stop
    fail "$1: expected \"$2\", found: $(tail -n 1 "$dir/$1.log")"
}

start() {
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    compgen -G "$dir/*.pid" >/dev/null && fail "$dir: expected no cluster, found one; stop it first"
    command -v java >/dev/null || fail "expected Java 11 or 17, found none: apt-get install openjdk-17-jre-headless"
    if (exec 3<>"/dev/tcp/127.0.0.1/$MASTER_PORT") 2>/dev/null; then
        fail "MASTER_PORT $MASTER_PORT: expected a free port, found one in use"
    fi
    local home
    home=$("$PYTHON" -P -c 'import pathlib, pyspark; print(pathlib.Path(pyspark.__file__).parent)' 2>/dev/null) ||
        fail "$PYTHON: expected pyspark, found none: pip install 'sluice-curation[spark]'"
    export SPARK_HOME=$home SPARK_LOCAL_IP=127.0.0.1
    launch master "$home/bin/spark-class" org.apache.spark.deploy.master.Master \
        --host 127.0.0.1 --port "$MASTER_PORT" --webui-port 0
    await master "New state: ALIVE"
    for number in $(seq "$WORKERS"); do
        local address=127.0.0.$((10 + number)) place=$dir/worker-$number
        mkdir -p "$place"
        printf '127.0.0.1 localhost\n127.0.0.1 %s\n%s worker-pool\n' "$(hostname)" "$address" >"$place/hosts"
        launch "pool-$number" "$PYTHON" -P -c 'from pipelines.cli import main; main()' \
            worker-pool --host "$address" --port "$POOL_PORT"
        JDK_JAVA_OPTIONS="-Djdk.net.hosts.file=$place/hosts" launch "worker-$number" \
            "$home/bin/spark-class" org.apache.spark.deploy.worker.Worker --host 127.0.0.1 --webui-port 0 \
            --cores "$CORES" --memory "$MEMORY" --work-dir "$place" "spark://127.0.0.1:$MASTER_PORT"
    done
    for number in $(seq "$WORKERS"); do
        await "pool-$number" "worker pool at"
        await "worker-$number" "Successfully registered"
    done
    tee "$dir/cluster.yaml" <<PROFILE
runner: spark
master: spark://127.0.0.1:$MASTER_PORT
workers: $((WORKERS * CORES))
workers_per_executor: $CORES
worker_pool: worker-pool:$POOL_PORT
PROFILE
}

# signal NAME: send a signal to every process group that was started here; fails when none is left.
signal() {
    local file sent=1
    for file in "$dir"/*.pid; do
        [ -e "$file" ] && kill "-$1" -- "-$(cat "$file")" 2>/dev/null && sent=0
    done
    return $sent
}

stop() {
    signal TERM || true
    for _ in $(seq 50); do
        signal 0 || break
        sleep 0.1
    done
    signal KILL || true
    rm -f "$dir"/*.pid
}

dir=${2:-}
[ -n "$dir" ] || fail "expected: cluster.sh start DIR, or cluster.sh stop DIR"
case ${1:-} in
start) start ;;
stop) stop ;;
*) fail "expected start or stop, found: ${1:-nothing}" ;;
esac
