# Put your build here: what it prints is streamed, and its exit code is the result.
steps=${STEPS:-40}
for step in $(seq "$steps"); do
  echo "[$step/$steps] compiling module_$step.c"
  [ $((step % 9)) -eq 0 ] && echo "module_$step.c:$step: warning: unused variable 'x'"
  sleep "${PAUSE:-0.06}"
done
echo "linked gateway, $steps modules"
