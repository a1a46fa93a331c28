# Waits until the test process $2, which holds the other end of standard input,
# lets go of it or is gone, however it went; then ends whatever works in the
# folder $1 and removes it.
folder=$1
test_process=$2
cat >/dev/null

# A process that supervises PostgreSQL there would only start it again.
for lock in "$folder"/postgres/lock "$folder"/*/postgres/lock; do
    [ -s "$lock" ] || continue
    supervisor=$(cat "$lock")
    [ "$supervisor" = "$test_process" ] || flock -n "$lock" true || kill -9 "$supervisor"
done

try=0
while [ "$try" -lt 100 ]; do
    try=$((try + 1))
    how=QUIT
    [ "$try" -gt 50 ] && how=KILL
    found=
    for process in /proc/[0-9]*; do
        case $(readlink "$process/cwd") in
        "$folder" | "$folder"/*)
            found=yes
            kill "-$how" "${process#/proc/}"
            ;;
        esac
    done
    [ -z "$found" ] && break
    sleep 0.1
done
rm -rf "$folder"
