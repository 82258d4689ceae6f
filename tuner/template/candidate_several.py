# ---- several results: each is marked, however they are nested ----

OneWithoutBackward = NoBackward


class NoBackward:
    """Marks every result as the above does one; what has no gradient, as integers have not, stays."""

    @staticmethod
    def apply(result, *parameters):
        if not isinstance(result, torch.Tensor):
            return tuple(NoBackward.apply(each, *parameters) for each in result)
        return OneWithoutBackward.apply(result, *parameters) if result.is_floating_point() else result
