"""Decision-focused portfolio choice on the prices of twenty large American companies, 1990 to 2022.

Every ten trading days an investor who holds the weights h forecasts the next returns, mu, estimates their covariance,
R'R, from the past, and trades to the weights of Markowitz (1952)

    w(mu, R, h) = argmax  mu'w - gamma/2 |R w|^2 - kappa |w - h|^2    subject to  1'w = 1,  0 <= w <= limit,

where kappa |w - h|^2 is the price impact of the trade (Garleanu and Pedersen, 2013). When the returns r have come in,
the period has earned e = r'w - kappa |w - h|^2, which is worth u = e - gamma/2 e^2 to the investor. One small network
forecasts mu from the past of each stock. It is trained in two ways, from the same initial weights:

    two-stage           minimise the squared error of the forecasts, |mu - r|^2;
    decision-focused    maximise the mean of u, with gradients through the optimization layer w(mu, R, h) over several
                        periods in a row, since the weights of one period are held at the start of the next.

The second is the idea of Donti, Amos and Kolter (2017) and of Elmachtoub and Grigas (2022). Two strategies stand beside
them: least risk, the same layer with mu = 0, which needs no forecast; and equal weights, which need no layer.

Nothing knows the future. Training, validation and test follow each other in time; forecasts and covariances end on the
day before the trade; features are standardised by their training means. Both ways keep the epoch with the largest mean
of u on the validation years, so that they differ in the loss alone, and each has the learning rate in {0.001, 0.003,
0.01} that was best on these years for three other seeds. The test years are for the table. All twenty companies
survived until 2022, which flatters every strategy; differences between strategies suffer less from it.

Data: `skfolio.datasets.load_sp500_dataset`, daily adjusted prices carried inside the package skfolio (BSD-3 licence).

H. Markowitz, Portfolio selection, Journal of Finance 7, 1952.
N. Garleanu, L. Pedersen, Dynamic trading with predictable returns and transaction costs, Journal of Finance 68, 2013.
P. Donti, B. Amos, J. Z. Kolter, Task-based end-to-end model learning in stochastic optimization, NeurIPS 2017.
A. Elmachtoub, P. Grigas, Smart "predict, then optimize", Management Science 68, 2022.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cvxpy as cp
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from skfolio.datasets import load_sp500_dataset
from tqdm import tqdm

from optlayers.torch import CvxpyLayer

DAYS_A_YEAR = 252
TWO_STAGE, DECISION_FOCUSED, LEAST_RISK, EQUAL_WEIGHTS = "two-stage", "decision-focused", "least risk", "equal weights"
COLOURS = {DECISION_FOCUSED: "tab:blue", TWO_STAGE: "tab:orange", LEAST_RISK: "tab:green", EQUAL_WEIGHTS: "0.45"}

Policy = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(days (B,), weights held (B, stocks)) -> weights after the trade (B, stocks)"""


@dataclass(frozen=True)
class Config:
    """The experiment; times are in trading days.

    impact: kappa; at 0.02, a trade of 5% of the wealth in one stock costs 10 basis points of what is traded.
    lookback, shrinkage: the days of returns in a covariance, and the weight of its diagonal in the estimate.
    batch: days in a step of two-stage training.
    segments, horizon: decision-focused training walks through so many segments of the years side by side, and takes
        each gradient through so many periods in a row.
    """

    seeds: int = 5
    epochs: int = 12
    period: int = 10
    risk_aversion: float = 5.0
    impact: float = 0.02
    limit: float = 0.2
    lookback: int = 252
    shrinkage: float = 0.1
    train_until: str = "2006-12-31"
    validate_until: str = "2013-12-31"
    hidden: int = 16
    forecast_rate: float = 1e-2
    decision_rate: float = 3e-3
    batch: int = 128
    segments: int = 8
    horizon: int = 4


@dataclass(frozen=True)
class Market:
    """For each day: features and covariance roots known before its trade, and the returns of the period after it."""

    dates: pd.DatetimeIndex
    features: torch.Tensor
    roots: torch.Tensor
    returns: torch.Tensor
    train: range
    validate: range
    test: range


@dataclass(frozen=True)
class Setting:
    config: Config
    market: Market
    markowitz: Markowitz

    def trading_days(self, years: range) -> torch.Tensor:
        return torch.tensor(years[:: self.config.period])

    def equal(self, portfolios: int) -> torch.Tensor:
        stocks = self.market.returns.shape[1]
        return torch.full((portfolios, stocks), 1 / stocks, dtype=torch.float64)

    def utility(self, earned: torch.Tensor) -> torch.Tensor:
        """u = e - gamma/2 e^2, in percent a year"""
        worth = earned - self.config.risk_aversion / 2 * earned.square()
        return 100 * DAYS_A_YEAR / self.config.period * worth


@dataclass(frozen=True)
class Record:
    """What a policy earned in each period, net of costs, and the share of wealth that it traded: (T, B)."""

    earned: torch.Tensor
    traded: torch.Tensor
    held: torch.Tensor


@dataclass(frozen=True)
class Training:
    """The network kept, and mean utilities by epoch: on the validation years (from epoch 0), and of the training."""

    network: Forecaster
    validated: list[float]
    trained: list[float]
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """A strategy in the test years; `training` if it was trained."""

    record: Record
    training: Training | None = None


# The market


def past_features(prices: pd.DataFrame) -> np.ndarray:
    """(day, stock, feature): past returns over volatility, volatilities, distance from the high; and market means."""
    logs = np.log(prices)
    daily = logs.diff()
    volatility = daily.rolling(DAYS_A_YEAR).std()
    momentum = [logs.diff(days) / (volatility * days**0.5) for days in (5, 21, 63, 126, 252)]
    risk = [np.log(volatility), daily.rolling(21).std() / volatility]
    drawdown = (logs - logs.rolling(DAYS_A_YEAR).max()) / volatility
    own = np.stack([*momentum, *risk, drawdown], axis=-1)
    return np.concatenate([own, np.broadcast_to(own.mean(axis=1, keepdims=True), own.shape)], axis=-1)


def covariance_roots(daily: np.ndarray, config: Config) -> np.ndarray:
    """Upper triangular R, with R'R the covariance of a period's returns, for each window of daily returns."""
    windows = np.lib.stride_tricks.sliding_window_view(daily, config.lookback, axis=0)
    covariance = windows @ windows.swapaxes(1, 2) * (config.period / config.lookback)
    diagonal = covariance * np.eye(covariance.shape[1])
    return np.linalg.cholesky((1 - config.shrinkage) * covariance + config.shrinkage * diagonal).swapaxes(1, 2)


def load_market(config: Config) -> Market:
    prices = load_sp500_dataset()
    closes, first, last = prices.to_numpy(), max(config.lookback, DAYS_A_YEAR) + 1, len(prices) - config.period
    dates = prices.index[first:last]
    validate, test = (int(dates.searchsorted(day, side="right")) for day in (config.train_until, config.validate_until))
    train = range(validate - config.period)
    features = past_features(prices)[first - 1 : last - 1]
    features = (features - features[train].mean(axis=(0, 1))) / features[train].std(axis=(0, 1))
    daily = closes[1:] / closes[:-1] - 1
    return Market(
        dates=dates,
        features=torch.tensor(features),
        roots=torch.tensor(covariance_roots(daily[first - 1 - config.lookback : last - 2], config)),
        returns=torch.tensor(closes[first + config.period :] / closes[first:last] - 1),
        train=train,
        validate=range(validate, test - config.period),
        test=range(test, len(dates)),
    )


# Forecast and decision


class Forecaster(torch.nn.Module):
    """Features (..., stocks, features) -> forecast returns (..., stocks); at first the mean return of training."""

    def __init__(self, market: Market, hidden: int) -> None:
        super().__init__()
        known = market.returns[market.train]
        self.mean, self.scale = known.mean(), known.std()
        last = torch.nn.Linear(hidden, 1)
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(market.features.shape[-1], hidden), torch.nn.Tanh(), last
        ).double()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.mean + self.scale * self.layers(features).squeeze(-1)


class Markowitz(torch.nn.Module):
    """(forecast, covariance root, weights held) -> weights after the trade, for a batch; counts its solves."""

    def __init__(self, stocks: int, config: Config) -> None:
        super().__init__()
        w = cp.Variable(stocks)
        mu, R, held = cp.Parameter(stocks), cp.Parameter((stocks, stocks)), cp.Parameter(stocks)
        risk = config.risk_aversion / 2 * cp.sum_squares(R @ w)
        cost = config.impact * cp.sum_squares(w - held)
        problem = cp.Problem(cp.Maximize(mu @ w - risk - cost), [cp.sum(w) == 1, w >= 0, w <= config.limit])
        self.layer = CvxpyLayer(problem, parameters=[mu, R, held], variables=[w])
        self.solves = 0

    def forward(self, forecast: torch.Tensor, root: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
        (weights,) = self.layer(forecast, root, held)
        self.solves += len(weights)
        return weights


def forecasting(setting: Setting, network: Forecaster) -> Policy:
    market = setting.market
    return lambda days, held: setting.markowitz(network(market.features[days]), market.roots[days], held)


def least_risk(setting: Setting) -> Policy:
    return lambda days, held: setting.markowitz(torch.zeros_like(held), setting.market.roots[days], held)


def equal_weights(setting: Setting) -> Policy:
    return lambda days, held: setting.equal(len(days))


def trade(setting: Setting, policy: Policy, days: torch.Tensor, held: torch.Tensor) -> Record:
    """Follow a policy through the days (T, B), one period after the other, from the weights held (B, stocks)."""
    earned, traded = [], []
    for today in days:
        weights, returns = policy(today, held), setting.market.returns[today]
        bought, gross = weights - held, (weights * returns).sum(dim=-1)
        earned.append(gross - setting.config.impact * bought.square().sum(dim=-1))
        traded.append(bought.abs().sum(dim=-1) / 2)
        held = weights * (1 + returns) / (1 + gross).unsqueeze(-1)
    return Record(torch.stack(earned), torch.stack(traded), held)


@torch.no_grad()
def backtest(setting: Setting, policy: Policy, years: range) -> Record:
    return trade(setting, policy, setting.trading_days(years).unsqueeze(-1), setting.equal(1))


def mean_utility(setting: Setting, policy: Policy, years: range) -> float:
    return float(setting.utility(backtest(setting, policy, years).earned).mean())


# Training


def squared_errors(setting: Setting, network: Forecaster, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """One epoch of two-stage losses, over all training days in random order."""
    market = setting.market
    for days in torch.randperm(len(market.train), generator=generator).split(setting.config.batch):
        yield ((network(market.features[days]) - market.returns[days]) / network.scale).square().mean()


def lost_utilities(setting: Setting, network: Forecaster, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """One epoch of decision-focused losses, over the training periods that follow a random first day."""
    config = setting.config
    first = int(torch.randint(config.period, (1,), generator=generator))
    days = setting.trading_days(setting.market.train[first:])
    length = len(days) // config.segments
    days = days[: config.segments * length].reshape(config.segments, length).T
    held = setting.equal(config.segments)
    for some in days.split(config.horizon):
        record = trade(setting, forecasting(setting, network), some, held)
        held = record.held.detach()
        yield -setting.utility(record.earned).mean()


Losses = Callable[[Setting, Forecaster, torch.Generator], Iterator[torch.Tensor]]


def train(setting: Setting, losses: Losses, rate: float, seed: int, bar: tqdm) -> Training:
    """Adam on the losses; keeps the epoch of the largest mean utility on the validation years."""
    begin = time.perf_counter()
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = Forecaster(setting.market, setting.config.hidden)
    policy = forecasting(setting, network)
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    kept, validated, trained = network, [], []
    for epoch in range(setting.config.epochs + 1):
        steps = []
        for loss in losses(setting, network, generator) if epoch > 0 else ():
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            steps.append(-loss.item())
        trained.append(float(np.mean(steps)) if steps else np.nan)
        validated.append(mean_utility(setting, policy, setting.market.validate))
        if validated[-1] == max(validated):
            kept = copy.deepcopy(network)
        bar.update()
    return Training(kept, validated, trained, time.perf_counter() - begin)


def run(setting: Setting) -> dict[str, list[Outcome]]:
    """Train for each seed; when all is trained, go through the test years."""
    config, test = setting.config, setting.market.test
    methods = {
        TWO_STAGE: (squared_errors, config.forecast_rate),
        DECISION_FOCUSED: (lost_utilities, config.decision_rate),
    }
    trainings: dict[str, list[Training]] = {name: [] for name in methods}
    with tqdm(total=len(methods) * config.seeds * (config.epochs + 1), unit="epoch") as bar:
        for seed in range(config.seeds):
            for name, (losses, rate) in methods.items():
                bar.set_description(f"seed {seed}, {name}")
                trainings[name].append(train(setting, losses, rate, seed, bar))
    outcomes = {
        name: [Outcome(backtest(setting, forecasting(setting, each.network), test), each) for each in several]
        for name, several in trainings.items()
    }
    outcomes[LEAST_RISK] = [Outcome(backtest(setting, least_risk(setting), test))]
    outcomes[EQUAL_WEIGHTS] = [Outcome(backtest(setting, equal_weights(setting), test))]
    return outcomes


# Report


@torch.no_grad()
def forecast_error(setting: Setting, network: Forecaster) -> float:
    """The mean squared error of the test years' forecasts, in squared percent."""
    days = setting.trading_days(setting.market.test)
    return float((100 * (network(setting.market.features[days]) - setting.market.returns[days])).square().mean())


def measures(setting: Setting, outcome: Outcome) -> dict[str, float]:
    """The columns of the table, for one seed."""
    earned, training, periods = outcome.record.earned, outcome.training, DAYS_A_YEAR / setting.config.period
    return {
        "return %": float(100 * periods * earned.mean()),
        "volatility %": float(100 * periods**0.5 * earned.std()),
        "Sharpe": float(periods**0.5 * earned.mean() / earned.std()),
        "turnover": float(periods * outcome.record.traded.mean()),
        "utility %": float(setting.utility(earned).mean()),
        "error %²": forecast_error(setting, training.network) if training else np.nan,
        "time s": training.seconds if training else np.nan,
    }


def table(setting: Setting, outcomes: dict[str, list[Outcome]]) -> str:
    rows = [{"strategy": name, **measures(setting, each)} for name, several in outcomes.items() for each in several]
    seeds = pd.DataFrame(rows).groupby("strategy", sort=False)
    mean, spread = (frame.map(lambda value: f"{value:.2f}") for frame in (seeds.mean(), seeds.std()))
    return (mean + " ± " + spread).replace({" ± nan": "", "nan": "-"}, regex=True).rename_axis(None).to_string()


def advantage(setting: Setting, outcomes: dict[str, list[Outcome]], other: str) -> str:
    """The difference of two strategies' utilities, averaged over seeds, with its standard error over periods."""
    ours, theirs = (
        torch.stack([setting.utility(each.record.earned) for each in outcomes[name]]).mean(dim=(0, 2))
        for name in (DECISION_FOCUSED, other)
    )
    error = (ours - theirs).std() / len(ours) ** 0.5
    return f"  {DECISION_FOCUSED} minus {other}: {(ours - theirs).mean():+.2f} ± {error:.2f} % a year"


def time_a_gradient(setting: Setting, size: int = 64) -> float:
    """Seconds for one solve and its gradient in a batch."""
    market, held = setting.market, setting.equal(size).requires_grad_()
    begin = time.perf_counter()
    setting.markowitz(market.returns[:size], market.roots[:size], held).square().sum().backward()
    return (time.perf_counter() - begin) / size


def report(setting: Setting, outcomes: dict[str, list[Outcome]]) -> str:
    constant = forecast_error(setting, Forecaster(setting.market, setting.config.hidden))
    config, layer = setting.config, setting.markowitz.layer
    days = setting.market.dates[setting.market.test][:: config.period]
    differences = "\n".join(advantage(setting, outcomes, each) for each in (TWO_STAGE, LEAST_RISK, EQUAL_WEIGHTS))
    return f"""
Test from {days[0]:%B %Y} on: {len(days)} periods of {config.period} trading days
Mean ± standard deviation over the seeds ({config.seeds}); per year, net of costs

{table(setting, outcomes)}

Sharpe ratio: no interest subtracted. Turnover: how often the portfolio is replaced. Utility: the mean of u.
Error: mean square error of a forecast; {constant:.2f} if every forecast is the mean return of the training years.

Difference in utility, mean over seeds ± standard error over the test periods
{differences}

Layer: {layer.solver.name}, {layer.solver_reason}
{setting.markowitz.solves} solves; {1000 * time_a_gradient(setting):.1f} ms for a solve and its gradient
"""


# Picture


def band(axes: Axes, x: Sequence[object], curves: np.ndarray, name: str, style: str = "-", note: str = "") -> None:
    """The mean of the curves (seed, point) and one standard deviation around it."""
    mean, spread = curves.mean(axis=0), curves.std(axis=0)
    axes.plot(x, mean, color=COLOURS[name], linestyle=style, linewidth=1.8, label=name + note)
    axes.fill_between(x, mean - spread, mean + spread, color=COLOURS[name], alpha=0.15, linewidth=0)


def draw_learning(axes: Axes, setting: Setting, outcomes: dict[str, list[Outcome]]) -> None:
    """Utility by epoch above that of equal weights in the same years, so that training and validation compare."""
    market, epochs = setting.market, range(setting.config.epochs + 1)
    base, base_train = (mean_utility(setting, equal_weights(setting), each) for each in (market.validate, market.train))
    trained = np.array([each.training.trained for each in outcomes[DECISION_FOCUSED]])
    band(axes, epochs, trained - base_train, DECISION_FOCUSED, ":", ", while training")
    for name in (DECISION_FOCUSED, TWO_STAGE):
        validated = np.array([each.training.validated for each in outcomes[name]])
        band(axes, epochs, validated - base, name, note=", validation years")
    axes.axhline(0, color=COLOURS[EQUAL_WEIGHTS], linestyle="--", label=EQUAL_WEIGHTS)
    axes.set(xlabel="epoch", ylabel="utility above equal weights (% a year)")
    axes.set_title("Learning", loc="left")


def draw_wealth(axes: Axes, setting: Setting, outcomes: dict[str, list[Outcome]]) -> None:
    """Wealth at each trade of the test years."""
    dates = setting.market.dates[setting.market.test][:: setting.config.period]
    for name in COLOURS:
        growth = 1 + np.array([each.record.earned[:-1, 0].numpy() for each in outcomes[name]])
        wealth = np.cumprod(np.insert(growth, 0, 1, axis=1), axis=1)
        band(axes, dates, wealth, name, "--" if name == EQUAL_WEIGHTS else "-")
    axes.set(ylabel="wealth, net of costs (log scale)", yscale="log")
    axes.set_title("Test years", loc="left")
    axes.yaxis.set_major_locator(FixedLocator([0.5, 0.75, 1, 1.5, 2, 3, 4, 6]))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())


def draw(setting: Setting, outcomes: dict[str, list[Outcome]], path: Path) -> None:
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    for axes, panel in zip(figure.subplots(1, 2), (draw_learning, draw_wealth), strict=True):
        panel(axes, setting, outcomes)
        axes.set_title(f"mean and standard deviation over the seeds ({setting.config.seeds})", fontsize=9, loc="right")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9, loc="upper left")
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description="Decision-focused portfolio choice.")
    parser.add_argument("--seeds", type=int, default=Config.seeds)
    parser.add_argument("--epochs", type=int, default=Config.epochs)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output", help="folder of the picture")
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch, long periods: does it run?")
    given = parser.parse_args()
    config = Config(seeds=given.seeds, epochs=given.epochs)
    if given.quick:
        config = replace(config, seeds=1, epochs=1, period=63)
    torch.set_num_threads(1)  # so small a network loses more by waiting for threads than it gains
    market = load_market(config)
    setting = Setting(config, market, Markowitz(market.returns.shape[1], config))
    outcomes = run(setting)
    print(report(setting, outcomes))
    picture = given.output / "portfolio.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    draw(setting, outcomes, picture)
    print(f"Picture: {picture}")


if __name__ == "__main__":
    main()
