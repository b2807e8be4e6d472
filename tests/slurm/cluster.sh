#!/usr/bin/env bash
# A SLURM of one node on this machine, for tests: cluster.sh start | stop. Wants root and Debian's slurm-wlm and munge.
# It says that it has more cores and memory than it may have, and two files for GPUs: enough to see what jobs get.
set -euo pipefail
conf=/etc/slurm mark="# made by tests/slurm/cluster.sh" state=/var/lib/advgrad-slurm

stop() {
    if grep -qsF "$mark" $conf/slurm.conf; then
        timeout 5 scancel --user=root --signal=KILL --full 2>/dev/null || true
        rm -f $conf/slurm.conf $conf/gres.conf
    fi
    for daemon in slurmctld slurmd; do  # by their pids; each removes its file when it ends
        pkill -x -F $state/$daemon.pid $daemon 2>/dev/null || continue
        for _ in $(seq 100); do [ -e $state/$daemon.pid ] || break; sleep 0.1; done
    done
    if [ -e $state/munged ]; then munged --stop >/dev/null 2>&1 || true; fi
    rm -rf $state
}

start() {
    if [ -e $conf/slurm.conf ] && ! grep -qF "$mark" $conf/slurm.conf; then
        echo "error: $conf/slurm.conf is there already and not of this script" >&2
        exit 2
    fi
    stop
    mkdir -p $conf $state/ctld $state/d /run/munge
    host=$(hostname -s)
    cat >$conf/slurm.conf <<EOF
$mark
ClusterName=advgrad
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/d
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SlurmdParameters=config_overrides
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
MinJobAge=3600
KillWait=5
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=65536 Gres=gpu:2
PartitionName=cpu Nodes=$host Default=YES
PartitionName=gpu Nodes=$host
EOF
    printf 'Name=gpu File=%s\n' /dev/null /dev/zero >$conf/gres.conf
    if ! pgrep -x munged >/dev/null; then
        [ -e /etc/munge/munge.key ] || mungekey
        chown -R munge: /etc/munge /run/munge /var/lib/munge /var/log/munge
        runuser -u munge -- munged
        touch $state/munged
    fi
    slurmctld
    slurmd -N "$host"
    for _ in $(seq 100); do
        if sinfo -h -p cpu -t idle -o %n 2>/dev/null | grep -q .; then exit 0; fi
        sleep 0.2
    done
    echo "error: the node does not become idle" >&2
    sinfo >&2 || true
    tail -n 20 $state/slurmctld.log $state/slurmd.log >&2 || true
    exit 1
}

case "${1:-}" in
    start) start ;;
    stop) stop ;;
    *) echo "usage: cluster.sh start | stop" >&2; exit 2 ;;
esac
