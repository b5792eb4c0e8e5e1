"""python -m eventspd_ros.cli"""

import sys

from eventspd_ros.cli import main

if __name__ == "__main__":
    sys.exit(main())
