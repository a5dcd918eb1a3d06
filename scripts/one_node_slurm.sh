#!/bin/sh
# A real Slurm on this one machine, for trying the cluster profile: start FOLDER | stop FOLDER.
# Needs slurm-wlm and munge and root, and a machine without a Slurm of its own: everything lies in
# FOLDER, but jobs look for /etc/slurm/slurm.conf, which is a link to it until it is stopped.  It has two partitions, cpu and gpu; the gpu one has a device that
# is none, so that requests for a GPU are scheduled without one.
set -eu

if [ $# -ne 2 ]; then
  echo "usage: one_node_slurm.sh start|stop FOLDER" >&2
  exit 2
fi
mkdir -p "$2"
folder=$(cd "$2" && pwd)
link=/etc/slurm/slurm.conf

stop() {
  [ "$(readlink "$link")" = "$folder/slurm.conf" ] && rm -f "$link"
  for name in slurmd slurmctld munged; do
    if [ -f "$folder/$name.pid" ]; then
      kill "$(cat "$folder/$name.pid")" 2>/dev/null || true
      rm -f "$folder/$name.pid"
    fi
  done
}

if [ "$1" = stop ]; then
  stop
  exit 0
fi

for program in munged slurmctld slurmd sinfo; do
  if ! command -v "$program" >/dev/null; then
    echo "one_node_slurm.sh: $program was not found: install slurm-wlm and munge" >&2
    exit 1
  fi
done

stop
if [ -e "$link" ]; then
  echo "one_node_slurm.sh: $link is there: this machine has a Slurm already" >&2
  exit 1
fi

host=$(hostname -s)
cores=$(nproc)
memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.95)}' /proc/meminfo)
mkdir -p "$folder/state" "$folder/spool"
chmod 755 "$folder"
[ -f "$folder/munge.key" ] || head -c 1024 /dev/urandom > "$folder/munge.key"
chmod 600 "$folder/munge.key"

cat > "$folder/slurm.conf" <<END
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CryptoType=crypto/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_min_interval=200000
MinJobAge=86400
ReturnToService=2
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$memory Gres=gpu:1 State=UNKNOWN
PartitionName=cpu Nodes=$host Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=$host MaxTime=INFINITE State=UP
END
echo "Name=gpu File=/dev/null" > "$folder/gres.conf"
mkdir -p "${link%/*}"
ln -s "$folder/slurm.conf" "$link"
export SLURM_CONF="$folder/slurm.conf" # gres.conf is looked for beside it

munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
  --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" --seed-file="$folder/munged.seed"
slurmctld -c
slurmd -N "$host"
for _ in $(seq 60); do
  if sinfo --noheader --format=%T 2>/dev/null | grep -q idle; then
    sinfo
    exit 0
  fi
  sleep 0.5
done
echo "one_node_slurm.sh: the node did not come up; the end of its logs:" >&2
tail -n 5 "$folder"/*.log >&2
stop
exit 1
