#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# systemd as the first process of namespaces of its own: of mounts, processes, cgroups, names and the network. It sees this
# machine's programs, read-only, but none of its units: they would set up the machine. DIR/srv, DIR/etc, DIR/units, DIR/local
# and DIR/plugins are in place of what lies there; started.py says more.
#
# usage: manager.sh outer DIR PLUGINS    in a namespace of mounts already; becomes unshare, whose child is systemd
#        manager.sh inner DIR PLUGINS    called by the first
#        manager.sh clean DIR            removes the cgroups; in a namespace of mounts, too
set -eu
verb=$1 dir=$2

see_cgroups() {
    mkdir -p "$dir/cgroup"
    mount -t cgroup2 none "$dir/cgroup"
    cgroup=$dir/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/${dir##*/}
}

case $verb in
outer)
    see_cgroups
    mkdir "$cgroup"
    echo $$ >"$cgroup/cgroup.procs"
    exec unshare --cgroup --pid --fork --kill-child --mount-proc --uts --ipc --net sh "$0" inner "$dir" "$3"
    ;;
inner)
    # What the manager would set for the whole machine is not to be written to.
    mount --bind /proc/sys /proc/sys
    mount -o remount,bind,ro /proc/sys
    mount -t cgroup2 none /sys/fs/cgroup
    mount --bind "$dir/etc/systemd" /etc/systemd
    mount --bind "$dir/units" /usr/lib/systemd/system
    mount --bind "$dir/nothing" /usr/lib/systemd/system-generators
    for file in passwd group machine-id; do
        mount --bind "$dir/etc/$file" "/etc/$file"
    done
    mount --bind "$dir/srv" /srv
    mount --bind "$dir/local" /usr/local
    [ -z "$3" ] || mount --bind "$dir/plugins" "$3"
    mount --bind "$dir/kmsg" /dev/kmsg
    mount -t tmpfs none /run
    mkdir /run/trial
    mount --bind "$dir" /run/trial
    mount -t tmpfs none /tmp # PrivateTmp makes directories there
    mount -t tmpfs none /var/tmp
    mount -o remount,bind,ro /
    exec env -i container=blockpull PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=trial.target \
        --log-target=kmsg --log-level=info --show-status=no
    ;;
clean)
    see_cgroups
    [ ! -d "$cgroup" ] || find "$cgroup" -depth -type d -exec rmdir {} +
    ;;
esac
