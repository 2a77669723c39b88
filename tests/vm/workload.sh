# SPDX-License-Identifier: GPL-2.0-only
# Every operation of a NIC's driver that a user can ask for. $1, $2: namespaces, wired. Fails if
# traffic does not flow where it must; operations that the device lacks may be refused.
a() { ip netns exec $A "$@"; }
b() { ip netns exec $B "$@"; }
A=$1 B=$2 bad=0
nic=$(a ls /sys/class/net | grep -vx lo)
peer=$(b ls /sys/class/net | grep -vx lo)
reach() {
	what=$1; shift
	for i in $(seq 30); do a ping -q -c 1 -W 1 "$@" >/dev/null 2>&1 && break; done
	a ping -q -c 10 -i 0.05 -W 2 "$@" | grep -q ' 10 received' && return
	echo "FAILED: $what"; bad=1
}
must() { "$@" >/dev/null 2>&1 || { echo "FAILED: $*"; bad=1; }; }
try() { "$@" >/dev/null 2>&1; true; }

for o in "" -a -c -g -i -d -k -S -e -P -T -l -u -n -m --show-priv-flags --show-eee --phy-statistics; do
	try a ethtool $o $nic
done
must a ethtool -i $nic
must a ethtool -d $nic
must a ethtool -S $nic
try a ethtool -t $nic offline
try a ethtool -t $nic online
try a ethtool -p $nic 1
must a ethtool -r $nic
must a ethtool -s $nic speed 100 duplex full autoneg off
must a ethtool -s $nic autoneg on
try a ethtool -s $nic wol g
must a ethtool -s $nic msglvl 7
try a ethtool -A $nic rx off tx off
try a ethtool -A $nic rx on tx on
must a ethtool -G $nic rx 512 tx 512
must a ethtool -G $nic rx 256 tx 256
try a ethtool -C $nic rx-usecs 100
try a ethtool -C $nic rx-usecs 3
for f in rx tx sg tso rxvlan txvlan rxall rxfcs; do
	try a ethtool -K $nic $f off
	try a ethtool -K $nic $f on
done
try a ethtool -K $nic rxall off rxfcs off loopback off
reach ethtool 192.0.2.2

must a ip link set $nic promisc on
must a ip link set $nic allmulticast on
reach promisc 192.0.2.2
must a ip link set $nic promisc off
must a ip link set $nic allmulticast off
must a ip maddr add 01:00:5e:00:00:05 dev $nic

must a ip link add link $nic name v10 type vlan id 10
must b ip link add link $peer name v10 type vlan id 10
must a ip addr add 198.51.100.1/24 dev v10
must b ip addr add 198.51.100.2/24 dev v10
must a ip link set v10 up
must b ip link set v10 up
reach VLAN 198.51.100.2
must a ip link del v10
must b ip link del v10

must a ip link set $nic mtu 9000
must b ip link set $peer mtu 9000
reach jumbo -s 8000 -M do 192.0.2.2
must a ip link set $nic mtu 1500
must b ip link set $peer mtu 1500
old=$(a cat /sys/class/net/$nic/address)
must a ip link set $nic address 52:54:00:6e:00:77
reach address 192.0.2.2
must a ip link set $nic address $old
must a ip link set $nic down
must a ip link set $nic up
reach "down and up" 192.0.2.2
exit $bad
