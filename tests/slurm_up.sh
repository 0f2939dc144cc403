#!/usr/bin/env bash
# A private, throw-away Slurm on one machine: no systemd, no cgroups, no root, free ports, everything under DIR.
#   slurm_up.sh up   DIR    start it; export SLURM_CONF=DIR/etc/slurm.conf, and every Slurm command talks to it
#   slurm_up.sh wipe DIR    end its jobs and daemons, delete DIR
#   slurm_up.sh hold DIR    up, say "ready", wait until standard input closes, wipe: it cannot outlive whoever started it
# Knobs (environment): SLURM_NODES=2 SLURM_GPUS=8 SLURM_CPUS=64 SLURM_MEM=200000 (MB) of each node, all pretended;
#   SLURM_MAXARRAY=10001  SLURM_ACCT=0|1 (1: MariaDB and slurmdbd, so that sacct works; 10 s more)
#   SLURM_EXTRA="" (lines appended to slurm.conf)
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin  # an ordinary user's PATH lacks the daemons' folder
cmd=${1:?up, wipe or hold}
D=$(realpath -m "${2:?DIR}")
NODES=${SLURM_NODES:-2} GPUS=${SLURM_GPUS:-8} CPUS=${SLURM_CPUS:-64} MEM=${SLURM_MEM:-200000}
ACCT=${SLURM_ACCT:-0} MAXARRAY=${SLURM_MAXARRAY:-10001} EXTRA=${SLURM_EXTRA:-}
ME=$(id -un)
HOST=$(uname -n)  # slurmctld refuses to be the controller under any other name
HOST=${HOST%%.*}
export SLURM_CONF=$D/etc/slurm.conf

die() { echo "slurm_up: $*" >&2; exit 1; }
alive() {  # PID; a container's init may leave the dead unburied for seconds
  local line
  { read -r line <"/proc/$1/stat"; } 2>/dev/null && line=${line##*) } && [[ ${line:0:1} != Z ]]
}
wait_for() {  # wait_for SECONDS COMMAND...
  local n=$(($1 * 20)); shift
  while ((n-- > 0)); do "$@" >/dev/null 2>&1 && return 0; sleep 0.05; done
  return 1
}
gone() { ! alive "$1"; }
stop() {  # FILE...: end the processes that these name, and back only when they are gone
  local file p
  for file; do
    p=$(cat "$file" 2>/dev/null)  # a daemon removes its file while it is read
    [[ -n $p ]] && alive "$p" || continue
    kill -9 "$p" 2>/dev/null  # what they would save on a graceful end is deleted
    wait_for 10 gone "$p"
  done
}
no_jobs() { [[ -z $(timeout 5 squeue -h) ]]; }

wipe() {
  [[ -d $D ]] || return 0
  set +e  # stopping goes on whatever fails
  if [[ -s $D/run/slurmctld.pid ]] && alive "$(<"$D/run/slurmctld.pid")"; then
    timeout 10 scancel -u "$ME" >/dev/null 2>&1          # KILL follows after KillWait
    timeout 5 scancel -s KILL -u "$ME" >/dev/null 2>&1   # for steps that ignore TERM
    wait_for 12 no_jobs
  fi
  stop "$D"/run/slurmd.*.pid
  # What a killed slurmd leaves behind: steps of this cluster, known by their environment.
  local p
  for p in $(pgrep -x slurmstepd); do
    { tr '\0' '\n' <"/proc/$p/environ" | grep -qxF "SLURM_CONF=$SLURM_CONF" && kill -9 "$p"; } 2>/dev/null
  done
  stop "$D"/run/{slurmctld,slurmdbd,mariadb,munged}.pid
  rm -rf "$D"
  set -e
}

hold() {
  trap wipe EXIT
  trap 'exit 1' TERM INT HUP
  up
  echo ready
  cat >/dev/null  # until the other end of standard input is closed, by its owner's will or death
}

up() {
  local b
  for b in munged slurmctld slurmd sbatch; do
    command -v $b >/dev/null || die "$b is missing: apt-get install --no-install-recommends slurmctld slurmd slurm-client munge"
  done
  [[ ! -e $D ]] || die "$D is there already"
  mkdir -p "$D"/{etc,run,log,state,spool,dev}
  chmod 755 "$D" "$D/run"  # munged refuses a socket that others cannot reach
  read -r -a PORT < <(python3 - "$((NODES + 3))" <<'PY'
import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for one in sockets:
    one.bind(("127.0.0.1", 0))
print(*[one.getsockname()[1] for one in sockets])
PY
  )
  munge_up
  [[ $ACCT == 0 ]] || accounting_up
  write_conf
  slurm_start
}

munge_up() {
  dd if=/dev/urandom of="$D/etc/munge.key" bs=128 count=1 status=none
  chmod 600 "$D/etc/munge.key"
  munged --force --key-file="$D/etc/munge.key" --socket="$D/run/munge.sock" --pid-file="$D/run/munged.pid" \
    --log-file="$D/log/munged.log" --seed-file="$D/run/munged.seed"
}

accounting_up() {
  command -v mariadbd slurmdbd >/dev/null || die "apt-get install --no-install-recommends slurmdbd mariadb-server"
  local none="--no-defaults" socket="$D/run/mysql.sock"
  mariadb-install-db $none --user="$ME" --datadir="$D/db" --auth-root-authentication-method=normal --skip-test-db \
    --innodb-log-file-size=8M >"$D/log/mariadb-install.log" 2>&1 || die "mariadb-install-db: $(tail -5 "$D/log/mariadb-install.log")"
  # Throw-away: no durability. slurmdbd complains of a small pool and a short lock time-out.
  mariadbd $none --user="$ME" --datadir="$D/db" --bind-address=127.0.0.1 --port="${PORT[2]}" --socket="$socket" \
    --pid-file="$D/run/mariadb.pid" --log-error="$D/log/mariadb.log" --innodb-buffer-pool-size=64M --innodb-log-file-size=8M \
    --innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=0 --performance-schema=0 --skip-log-bin \
    --innodb-lock-wait-timeout=900 --skip-name-resolve </dev/null >/dev/null 2>&1 &
  disown
  wait_for 30 mariadb-admin $none -u root --socket="$socket" ping || die "mariadbd: $(tail -5 "$D/log/mariadb.log")"
  mariadb $none -u root --socket="$socket" -e "create user slurm@'127.0.0.1' identified by 'slurm';
    grant all on slurm_acct_db.* to slurm@'127.0.0.1'; create database slurm_acct_db;"
  cat >"$D/etc/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$D/run/munge.sock
DbdHost=$HOST
DbdAddr=127.0.0.1
DbdPort=${PORT[1]}
SlurmUser=$ME
LogFile=$D/log/slurmdbd.log
PidFile=$D/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=${PORT[2]}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
CommitDelay=0
CONF
  chmod 600 "$D/etc/slurmdbd.conf"  # slurmdbd refuses to start otherwise
}

write_conf() {
  local i node
  : >"$D/etc/plugstack.conf"
  {
    cat <<CONF
ClusterName=test
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=${PORT[0]}
SlurmUser=$ME
SlurmdUser=$ME
AuthType=auth/munge
CredType=cred/munge
# cred_expire is also the least delay before a requeued job starts again: 120 s by default, below 5 is refused
AuthInfo=socket=$D/run/munge.sock,cred_expire=5
# none of these needs cgroups
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# without it a job takes a node's whole memory
DefMemPerCPU=1000
GresTypes=gpu
# the machine's few cores pose as many
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,bf_interval=2,sched_interval=5,sched_min_interval=0,max_array_tasks=$MAXARRAY,bf_max_job_test=2000,default_queue_depth=2000
MaxArraySize=$MAXARRAY
MaxJobCount=50000
# job ids of an earlier cluster must not come again: a reused folder would hold that job's results
FirstJobId=$(($(date +%s) % 60000 * 1000 + 1))
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
# later versions call it PreemptParameters=send_user_signal, which 22.05 does not start with
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
KillWait=2
MinJobAge=600
ReturnToService=2
SlurmctldTimeout=60
SlurmdTimeout=300
StateSaveLocation=$D/state
SlurmdSpoolDir=$D/spool/%n
SlurmctldPidFile=$D/run/slurmctld.pid
SlurmdPidFile=$D/run/slurmd.%n.pid
SlurmctldLogFile=$D/log/slurmctld.log
SlurmdLogFile=$D/log/slurmd.%n.log
PlugStackConfig=$D/etc/plugstack.conf
MailProg=/bin/true
CONF
    if [[ $ACCT == 0 ]]; then
      echo "AccountingStorageType=accounting_storage/none"
    else
      cat <<CONF
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=${PORT[1]}
AccountingStoragePass=$D/run/munge.sock
AccountingStorageTRES=gres/gpu
CONF
    fi
    # Nodes are named 127.0.0.10, .11, ...: a job finds its siblings by their names, and these resolve everywhere.
    for ((i = 0; i < NODES; i++)); do
      echo "NodeName=127.0.0.1$i NodeHostname=localhost NodeAddr=127.0.0.1 Port=${PORT[i + 3]} CPUs=$CPUS RealMemory=$MEM" \
        "State=UNKNOWN $( ((GPUS)) && echo "Gres=gpu:$GPUS")"
    done
    echo "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=10 State=UP PriorityTier=10 PreemptMode=OFF"
    echo "PartitionName=low Nodes=ALL MaxTime=INFINITE DefaultTime=10 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=5"
    [[ -z $EXTRA ]] || echo "$EXTRA"
  } >"$SLURM_CONF"
  # Slurm sets CUDA_VISIBLE_DEVICES only for GPUs that are character devices; a link to one will do, and needs no root.
  echo "AutoDetect=off" >"$D/etc/gres.conf"
  for ((i = 0; i < GPUS; i++)); do ln -s /dev/null "$D/dev/nvidia$i"; done
  for ((i = 0; i < NODES && GPUS; i++)); do
    echo "NodeName=127.0.0.1$i Name=gpu File=$D/dev/nvidia[0-$((GPUS - 1))]" >>"$D/etc/gres.conf"
  done
}

idle() { [[ $(sinfo -h -N -p main -t idle -o %N | wc -l) == "$NODES" ]]; }

slurm_start() {
  local i
  if [[ $ACCT != 0 ]]; then
    SLURM_CONF=$D/etc/slurmdbd.conf slurmdbd
    wait_for 30 sacctmgr -n list cluster || die "slurmdbd: $(tail -5 "$D/log/slurmdbd.log")"
    sacctmgr -i add cluster test >/dev/null 2>&1 || true  # it may have added itself
  fi
  slurmctld -i -f "$SLURM_CONF"
  wait_for 20 scontrol ping || die "slurmctld: $(tail -5 "$D/log/slurmctld.log")"
  for ((i = 0; i < NODES; i++)); do
    mkdir -p "$D/spool/127.0.0.1$i"
    slurmd -f "$SLURM_CONF" -N "127.0.0.1$i" || die "slurmd: $(tail -5 "$D/log/slurmd.127.0.0.1$i.log")"
  done
  wait_for 30 idle || die "the nodes are not idle: $(sinfo -N -l; tail -5 "$D"/log/slurmd.*.log)"
}

case $cmd in up | wipe | hold) "$cmd" ;; *) die "unknown: $cmd" ;; esac
