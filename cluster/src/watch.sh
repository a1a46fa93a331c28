# Waits until the process that holds the other end of standard input is gone, however it went, then
# ends whatever works in the folders $@.
cat >/dev/null

workers() {
    for process in /proc/[0-9]*; do
        at=$(readlink "$process/cwd") || continue
        case $(readlink "$process/exe") in
        */comanda* | */nginx* | */java* | */postgres* | */pg_basebackup* | */initdb*) ;;
        *) continue ;;
        esac
        for folder in "$@"; do
            case $at in
            "$folder" | "$folder"/*) echo "${process#/proc/}" ;;
            esac
        done
    done
}

try=0
while [ "$try" -lt 200 ]; do
    found=$(workers "$@")
    [ -z "$found" ] && break
    # A stopped process hears nothing until it goes on. To PostgreSQL, TERM means when the last
    # client has gone; INT means now.
    how='INT TERM CONT'
    [ "$try" -ge 80 ] && how=KILL
    for process in $found; do
        for signal in $how; do kill "-$signal" "$process"; done
    done
    try=$((try + 1))
    sleep 0.1
done
exit 0
