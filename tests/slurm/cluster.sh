#!/usr/bin/env bash
# A SLURM of one node on this machine, for tests: cluster.sh start | stop. Wants root and Debian's slurm-wlm and munge.
# Partition `gpu` has the same node, with /dev/null for a GPU: enough to see where jobs are sent.
set -euo pipefail
conf=/etc/slurm mark="# made by tests/slurm/cluster.sh" state=/var/lib/advgrad-slurm

stop() {
    pkill -x slurmctld || true
    pkill -x slurmd || true
    for _ in $(seq 50); do pgrep "^slurm(ctld|d)$" >/dev/null || break; sleep 0.1; done
    if [ "${1:-}" = all ]; then
        if grep -qsF "$mark" $conf/slurm.conf; then rm -f $conf/slurm.conf $conf/gres.conf; fi
        rm -rf $state
    fi
}

start() {
    if [ -e $conf/slurm.conf ] && ! grep -qF "$mark" $conf/slurm.conf; then
        echo "error: $conf/slurm.conf is there already and not of this script" >&2
        exit 2
    fi
    stop
    rm -rf $state
    mkdir -p $conf $state/ctld $state/d /run/munge
    host=$(hostname -s)
    memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
    cat >$conf/slurm.conf <<EOF
$mark
ClusterName=advgrad
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/d
SlurmctldPidFile=$state/ctld.pid
SlurmdPidFile=$state/d.pid
SlurmctldLogFile=$state/ctld.log
SlurmdLogFile=$state/d.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
MinJobAge=300
KillWait=5
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory Gres=gpu:1
PartitionName=cpu Nodes=$host Default=YES
PartitionName=gpu Nodes=$host
EOF
    echo "Name=gpu File=/dev/null" >$conf/gres.conf
    if ! pgrep -x munged >/dev/null; then
        [ -e /etc/munge/munge.key ] || mungekey
        chown -R munge: /etc/munge /run/munge /var/lib/munge /var/log/munge
        runuser -u munge -- munged
    fi
    slurmctld
    slurmd -N "$host"
    for _ in $(seq 100); do
        if sinfo -h -p cpu -t idle -o %n 2>/dev/null | grep -q .; then exit 0; fi
        sleep 0.2
    done
    echo "error: the node does not become idle" >&2
    sinfo >&2 || true
    tail -n 20 $state/ctld.log $state/d.log >&2 || true
    exit 1
}

case "${1:-}" in
    start) start ;;
    stop) stop all ;;
    *) echo "usage: cluster.sh start | stop" >&2; exit 2 ;;
esac
