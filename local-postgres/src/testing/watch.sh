# Waits until the test process that holds the other end of standard input is
# gone, however it went, then ends whatever works in the folder $1 and removes it.
folder=$1
cat >/dev/null

# A process that supervises PostgreSQL there would only start it again.
for lock in "$folder"/postgres/lock "$folder"/*/postgres/lock; do
    [ -s "$lock" ] && ! flock -n "$lock" true && kill -9 "$(cat "$lock")"
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
