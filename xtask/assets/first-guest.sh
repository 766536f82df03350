# What the first guest does: says who it is, runs the agent if it can reach a broker, and leaves a shell on a console.
echo "Hello from Linux $(uname -r) in Cloister."
grep -m 1 'model name' /proc/cpuinfo
[ -c /dev/vsock ] && echo 'vsock: there' || echo 'vsock: not there'
for word in $(cat /proc/cmdline); do
    case $word in
    # cloister.agent=a,b runs `cloister-agent a b`
    cloister.agent=*) cloister-agent $(echo "${word#*=}" | tr , ' ') ;;
    cloister.shell) setsid cttyhack sh || sh ;;
    esac
done
