# Waits until the process that holds the other end of standard input is gone, however it went, then
# ends whatever works in the folder $1. With $2 = remove, the folder goes too.
folder=$1
cat >/dev/null

workers() {
    for process in /proc/[0-9]*; do
        case $(readlink "$process/cwd") in
        "$folder" | "$folder"/*) echo "${process#/proc/}" ;;
        esac
    done
}

# What is thrown away need not be written down first.
try=0
[ "$2" = remove ] && try=100
while [ "$try" -lt 200 ]; do
    found=$(workers)
    [ -z "$found" ] && break
    how=TERM
    [ "$try" -ge 100 ] && how=KILL
    # A stopped process hears nothing until it goes on.
    for process in $found; do
        kill "-$how" "$process"
        kill -CONT "$process"
    done
    try=$((try + 1))
    sleep 0.1
done
[ "$2" = remove ] && rm -rf "$folder"
exit 0
