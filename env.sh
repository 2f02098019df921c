# `. ./env.sh` gives this shell python, ROS 2, the package and its executables, as `make env` has installed them.
# Bash and zsh can source it from any folder. Other shells do not know where it is, so source it from its own folder.

if [ -n "${BASH_VERSION:-}" ]; then
    _lseg_shell=bash
    _lseg_root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
elif [ -n "${ZSH_VERSION:-}" ]; then
    _lseg_shell=zsh
    _lseg_root=$(cd "$(dirname "$(eval 'echo "${(%):-%x}"')")" && pwd)
else
    _lseg_shell=sh
    _lseg_root=$PWD
fi

# _lseg_prepend NAME FOLDER: puts a folder that exists in front of a search path, unless the path has it.
_lseg_prepend() {
    eval "_lseg_path=\${$1:-}"
    case ":$_lseg_path:" in
        *":$2:"*) ;;
        *) [ ! -d "$2" ] || export "$1=$2${_lseg_path:+:$_lseg_path}" ;;
    esac
}

if [ ! -f "$_lseg_root/install/inputs-built.txt" ]; then
    echo "Nothing to set up yet: run \`make env\` in $_lseg_root first." >&2
    unset -f _lseg_prepend
    unset _lseg_shell _lseg_root
    return 1
fi

if [ -d "$_lseg_root/.venv/share/ament_index" ]; then
    # ROS 2 from PyPI: this does what a distribution's setup.sh does. With the last variable the wheels do not start
    # Python a second time.
    ROS_DISTRO=$(cat "$_lseg_root/.venv/ros-distribution.txt")
    export ROS_DISTRO ROS_VERSION=2 ROS_PYTHON_VERSION=3 _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
    for _lseg_folder in "$_lseg_root"/.venv/lib/python3.*/site-packages/ros_*.libs; do
        _lseg_prepend LD_LIBRARY_PATH "$_lseg_folder"
    done
    for _lseg_prefix in "$_lseg_root/.venv" "$_lseg_root"/install/vision_msgs "$_lseg_root"/install/lseg_ros; do
        _lseg_prepend AMENT_PREFIX_PATH "$_lseg_prefix"
        _lseg_prepend CMAKE_PREFIX_PATH "$_lseg_prefix"
        _lseg_prepend LD_LIBRARY_PATH "$_lseg_prefix/lib"
        for _lseg_folder in "$_lseg_prefix"/lib/python3.*/site-packages; do
            [ "$_lseg_prefix" = "$_lseg_root/.venv" ] || _lseg_prepend PYTHONPATH "$_lseg_folder"
        done
    done
    unset _lseg_folder _lseg_prefix
else
    # The file of colcon sources the distribution that the package was built on, too.
    COLCON_CURRENT_PREFIX=$_lseg_root/install
    . "$_lseg_root/install/setup.$_lseg_shell"
    unset COLCON_CURRENT_PREFIX
fi

_lseg_prepend PATH "$_lseg_root/install/lseg_ros/lib/lseg_ros"
_lseg_prepend PATH "$_lseg_root/.venv/bin"
export VIRTUAL_ENV="$_lseg_root/.venv"
unset -f _lseg_prepend
unset _lseg_shell _lseg_root _lseg_path
