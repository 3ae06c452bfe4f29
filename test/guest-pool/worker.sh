# sh worker.sh PORT COMMAND...: runs COMMAND with the virtio port of that name as its descriptor 3, to write to, and a pipe
# as its descriptor 4, with what arrives at the port: Node.js waits for a pipe without a thread, and not for a port.
set -eu
wanted=$1
shift
for folder in /sys/class/virtio-ports/*; do
  read -r name <"$folder/name"
  [ "$name" != "$wanted" ] || port=/dev/${folder##*/}
done
pipe=$(mktemp -u)
mkfifo "$pipe"
# A port can be opened once.
exec 3<>"$port"
# A port that nobody is connected to is at its end at once.
(while :; do cat <&3; sleep 0.1; done) >"$pipe" 2>/dev/null &
exec "$@" 4<"$pipe" </dev/null
