"""Butcher tableaus of explicit Runge-Kutta methods, as data.

What follows from the coefficients is computed, never typed in. No solver code is here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isclose

# A row of coefficients, one for each stage.
Row = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Tableau:
    """The Butcher tableau of an explicit Runge-Kutta method.

    name: the name as torchdiffeq spells it. order: the order that step size control uses, and the order of the
    propagated solution; where the latter differs, it is `propagated`. c: the nodes, (stages,). a: one row for each
    stage, the weights of the stages before it; the first is empty. b: the weights of the new state, (stages,). b_err:
    the weights of the error estimate, (stages,), or None for a fixed-step method. mid: the weights of the state in the
    middle of the step, for dense output, (stages,). Raises ValueError when the sizes or the row sums do not agree.
    """

    name: str
    order: int
    c: Row
    a: tuple[Row, ...]
    b: Row
    b_err: Row | None = None
    mid: Row | None = None
    propagated: int | None = None
    source: str

    def __post_init__(self) -> None:
        stages = len(self.c)
        if len(self.a) != stages or any(len(row) != i for i, row in enumerate(self.a)):
            raise ValueError(f"tableau {self.name!r}: row i of a must have i entries, for {stages} stages")
        if any(row is not None and len(row) != stages for row in (self.b, self.b_err, self.mid)):
            raise ValueError(f"tableau {self.name!r}: b, b_err and mid must have {stages} entries")
        if (self.b_err is None) != (self.mid is None):
            raise ValueError(f"tableau {self.name!r}: b_err and mid go together")
        for node, row in zip(self.c, self.a, strict=True):
            if not isclose(sum(row), node, rel_tol=0, abs_tol=1e-9):
                raise ValueError(f"tableau {self.name!r}: row {row} sums to {sum(row)}, its node is {node}")
        if not isclose(sum(self.b), 1, rel_tol=0, abs_tol=1e-12):
            raise ValueError(f"tableau {self.name!r}: b sums to {sum(self.b)}, not 1")

    @property
    def stages(self) -> int:
        """The number of evaluations of the field in a step whose first slope is not known."""
        return len(self.c)

    @property
    def adaptive(self) -> bool:
        """Whether the method estimates its error."""
        return self.b_err is not None

    @property
    def reuses_last_stage(self) -> bool:
        """Whether the last stage is evaluated at the new state itself, which then needs no sum of its own."""
        return self.c[-1] == 1 and self.b[-1] == 0 and self.a[-1] == self.b[:-1]


EULER = Tableau(name="euler", order=1, c=(0,), a=((),), b=(1,), source="Euler 1768")

MIDPOINT = Tableau(
    name="midpoint",
    order=2,
    c=(0, 1 / 2),
    a=((), (1 / 2,)),
    b=(0, 1),
    source="Hairer, Norsett & Wanner, Solving ODEs I, sec. II.1, table 1.1 (Runge)",
)

HEUN2 = Tableau(
    name="heun2",
    order=2,
    c=(0, 1),
    a=((), (1,)),
    b=(1 / 2, 1 / 2),
    source="Butcher, Numerical Methods for ODEs, sec. 232 (trapezoidal rule)",
)

HEUN3 = Tableau(
    name="heun3",
    order=3,
    c=(0, 1 / 3, 2 / 3),
    a=((), (1 / 3,), (0, 2 / 3)),
    b=(1 / 4, 0, 3 / 4),
    source="Hairer, Norsett & Wanner, Solving ODEs I, sec. II.1, table 1.1 (Heun)",
)

RK4 = Tableau(
    name="rk4",
    order=4,
    c=(0, 1 / 3, 2 / 3, 1),
    a=((), (1 / 3,), (-1 / 3, 1), (1, -1, 1)),
    b=(1 / 8, 3 / 8, 3 / 8, 1 / 8),
    source="Kutta 1901, the 3/8 rule; Hairer, Norsett & Wanner, Solving ODEs I, table 1.2",
)

ADAPTIVE_HEUN = Tableau(
    name="adaptive_heun",
    order=2,
    c=(0, 1),
    a=((), (1,)),
    b=(1 / 2, 1 / 2),
    b_err=(1 / 2, -1 / 2),
    mid=(1 / 2, 0),
    source="Heun with Euler embedded, as torchdiffeq 0.2.5 adaptive_heun.py",
)

FEHLBERG2 = Tableau(
    name="fehlberg2",
    order=2,
    c=(0, 1 / 2, 1),
    a=((), (1 / 2,), (1 / 256, 255 / 256)),
    b=(1 / 512, 255 / 256, 1 / 512),
    b_err=(-1 / 512, 0, 1 / 512),
    mid=(0, 1 / 2, 0),
    source="Fehlberg, NASA TR R-315, 1969, RK1(2)",
)

BOSH3 = Tableau(
    name="bosh3",
    order=3,
    c=(0, 1 / 2, 3 / 4, 1),
    a=((), (1 / 2,), (0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
    b=(2 / 9, 1 / 3, 4 / 9, 0),
    b_err=(2 / 9 - 7 / 24, 1 / 3 - 1 / 4, 4 / 9 - 1 / 3, -1 / 8),
    mid=(0, 1 / 2, 0, 0),
    source="Bogacki & Shampine, Appl. Math. Lett. 2 (1989)",
)

_DOPRI5_B = (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)

DOPRI5 = Tableau(
    name="dopri5",
    order=5,
    c=(0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1),
    a=(
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        _DOPRI5_B,
    ),
    b=(*_DOPRI5_B, 0),
    # The embedded weights are Shampine's, not those of the 1980 paper.
    b_err=(
        35 / 384 - 1951 / 21600,
        0,
        500 / 1113 - 22642 / 50085,
        125 / 192 - 451 / 720,
        -2187 / 6784 + 12231 / 42400,
        11 / 84 - 649 / 6300,
        -1 / 60,
    ),
    mid=(
        6025192743 / 30085553152 / 2,
        0,
        51252292925 / 65400821598 / 2,
        -2691868925 / 45128329728 / 2,
        187940372067 / 1594534317056 / 2,
        -1776094331 / 19743644256 / 2,
        11237099 / 235043384 / 2,
    ),
    source="Dormand & Prince, J. Comput. Appl. Math. 6 (1980); Shampine, Math. Comp. 46 (1986)",
)

_TSIT5_B = (
    0.09646076681806523,
    0.01,
    0.4798896504144996,
    1.379008574103742,
    -3.290069515436081,
    2.324710524099774,
)

TSIT5 = Tableau(
    name="tsit5",
    order=5,
    c=(0, 0.161, 0.327, 0.9, 0.9800255409045097, 1, 1),
    a=(
        (),
        (0.161,),
        (-0.008480655492356989, 0.335480655492357),
        (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
        (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
        (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.02826905039406838),
        _TSIT5_B,
    ),
    b=(*_TSIT5_B, 0),
    b_err=(
        -0.001780011052225771,
        -0.0008164344596567469,
        0.007880878010261996,
        -0.1447110071732629,
        0.5823571654525552,
        -0.45808210592918686,
        1 / 66,
    ),
    # The paper's interpolant b_i(theta), equation (26), at theta = 1/2.
    mid=(
        -1.0530884977290216 * 0.5 * (0.5 - 1.3299890189751412) * (0.25 - 1.4364028541716351 * 0.5 + 0.7139816917074209),
        0.1017 * 0.25 * (0.25 - 2.1966568338249754 * 0.5 + 1.2949852507374631),
        2.490627285651252793 * 0.25 * (0.25 - 2.38535645472061657 * 0.5 + 1.57803468208092486),
        -16.54810288924490272 * 0.25 * (0.5 - 1.21712927295533244) * (0.5 - 0.61620406037800089),
        47.37952196281928122 * 0.25 * (0.5 - 1.203071208372362603) * (0.5 - 0.658047292653547382),
        -34.87065786149660974 * 0.25 * (0.5 - 1.2) * (0.5 - 2 / 3),
        2.5 * 0.25 * (0.5 - 1) * (0.5 - 0.6),
    ),
    source="Tsitouras, Comput. Math. Appl. 62 (2011); the 5th-order weights are propagated",
)

TSIT5_TORCHDIFFEQ = replace(
    TSIT5,
    name="tsit5_torchdiffeq",
    propagated=4,
    b=tuple(weight + err for weight, err in zip(TSIT5.b, TSIT5.b_err or (), strict=True)),
    source="tsit5 as torchdiffeq computes it (GitHub, 657943a), where the embedded 4th-order weights are propagated",
)

# fmt: off
_DOPRI8_B = (
    14005451 / 335480064, 0, 0, 0, 0, -59238493 / 1068277825, 181606767 / 758867731, 561292985 / 797845732,
    -1041891430 / 1371343529, 760417239 / 1151165299, 118820643 / 751138087, -528747749 / 2220607170, 1 / 4,
)

_DOPRI8_B_LOW = (
    13451932 / 455176623, 0, 0, 0, 0, -808719846 / 976000145, 1757004468 / 5645159321, 656045339 / 265891186,
    -3867574721 / 1518517206, 465885868 / 322736535, 53011238 / 667516719, 2 / 45, 0,
)

# Interpolant of degree 6: for each stage the coefficients of h^5 ... h^0 in b_i(h) / h.
_DOPRI8_DENSE: dict[int, Row] = {
    0: (
        -6.3448349392860401388, 22.1396504998094068976, -30.0610568289666450593, 19.9990069333683970610,
        -6.6910181737837595697, 1.0,
    ),
    5: (
        -39.6107919852202505218, 116.4422149550342161651, -121.4999627731334642623, 52.2273532792945524050,
        -7.6142658045872677172, 0.0,
    ),
    6: (
        20.3761213808791436958, -67.1451318825957197185, 83.1721004639847717481, -46.8919164181093621583,
        10.7281392630428866124, 0.0,
    ),
    7: (
        7.3347098826795362023, -16.5672243527496524646, 9.5724507555993664382, -0.1890893225010595467,
        0.5526637063753648783, 0.0,
    ),
    8: (
        32.8801774352459155182, -89.9916014847245016028, 87.8406057677205645007, -35.7075975946222072821,
        4.2186562625665153803, 0.0,
    ),
    9: (
        -10.1588990526426760954, 22.6237489648532849093, -17.4152107770762969005, 6.2736448083240352160,
        -0.6627209125361597559, 0.0,
    ),
    10: (
        -12.5401268098782561200, 32.2362340167355370113, -28.5903289514790976966, 10.3160881272450748458,
        -1.2636789001135462218, 0.0,
    ),
    11: (
        29.5553001484516038033, -82.1020315488359848644, 81.6630950584341412934, -34.7650769866611817349,
        5.4106037898590422230, 0.0,
    ),
    12: (
        -41.7923486424390588923, 116.2662185791119533462, -114.9375291377009418170, 47.7457971078225540396,
        -7.0321379067945741781, 0.0,
    ),
    13: (
        20.3006925822100825485, -53.9020777466385396792, 50.2558364226176017553, -19.0082099341608028453,
        2.3537586759714983486, 0.0,
    ),
}

DOPRI8 = Tableau(
    name="dopri8",
    order=8,
    c=(
        0, 1 / 18, 1 / 12, 1 / 8, 5 / 16, 3 / 8, 59 / 400, 93 / 200, 5490023248 / 9719169821, 13 / 20,
        1201146811 / 1299019798, 1, 1, 1,
    ),
    a=(
        (),
        (1 / 18,),
        (1 / 48, 1 / 16),
        (1 / 32, 0, 3 / 32),
        (5 / 16, 0, -75 / 64, 75 / 64),
        (3 / 80, 0, 0, 3 / 16, 3 / 20),
        (29443841 / 614563906, 0, 0, 77736538 / 692538347, -28693883 / 1125000000, 23124283 / 1800000000),
        (
            16016141 / 946692911, 0, 0, 61564180 / 158732637, 22789713 / 633445777, 545815736 / 2771057229,
            -180193667 / 1043307555,
        ),
        (
            39632708 / 573591083, 0, 0, -433636366 / 683701615, -421739975 / 2616292301, 100302831 / 723423059,
            790204164 / 839813087, 800635310 / 3783071287,
        ),
        (
            246121993 / 1340847787, 0, 0, -37695042795 / 15268766246, -309121744 / 1061227803, -12992083 / 490766935,
            6005943493 / 2108947869, 393006217 / 1396673457, 123872331 / 1001029789,
        ),
        (
            -1028468189 / 846180014, 0, 0, 8478235783 / 508512852, 1311729495 / 1432422823,
            -10304129995 / 1701304382, -48777925059 / 3047939560, 15336726248 / 1032824649,
            -45442868181 / 3398467696, 3065993473 / 597172653,
        ),
        (
            185892177 / 718116043, 0, 0, -3185094517 / 667107341, -477755414 / 1098053517, -703635378 / 230739211,
            5731566787 / 1027545527, 5232866602 / 850066563, -4093664535 / 808688257, 3962137247 / 1805957418,
            65686358 / 487910083,
        ),
        (
            403863854 / 491063109, 0, 0, -5068492393 / 434740067, -411421997 / 543043805, 652783627 / 914296604,
            11173962825 / 925320556, -13158990841 / 6184727034, 3936647629 / 1978049680, -160528059 / 685178525,
            248638103 / 1413531060, 0,
        ),
        _DOPRI8_B,
    ),
    b=(*_DOPRI8_B, 0),
    b_err=(*(high - low for high, low in zip(_DOPRI8_B, _DOPRI8_B_LOW, strict=True)), 0),
    mid=tuple(
        0.5
        * sum(factor * 0.5**power for power, factor in zip(range(5, -1, -1), _DOPRI8_DENSE[i], strict=True))
        if i in _DOPRI8_DENSE
        else 0.0
        for i in range(14)
    ),
    source="Prince & Dormand, J. Comput. Appl. Math. 7 (1981); interpolant as torchdiffeq 0.2.5 dopri8.py",
)
# fmt: on

TABLEAUS: dict[str, Tableau] = {
    tableau.name: tableau
    for tableau in (
        EULER,
        MIDPOINT,
        HEUN2,
        HEUN3,
        RK4,
        ADAPTIVE_HEUN,
        FEHLBERG2,
        BOSH3,
        DOPRI5,
        DOPRI8,
        TSIT5,
        TSIT5_TORCHDIFFEQ,
    )
}
