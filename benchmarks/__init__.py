"""What Rollguard costs, each figure beside a limit or a peer that is measured in the same run. Run by `make bench`."""
