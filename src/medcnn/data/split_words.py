"""What train, validation and test are called: in columns, in folders, in any language; one list for
all that reads a split."""

from __future__ import annotations

import re
import unicodedata


def plain(name: str) -> str:
    """Small letters and digits alone, without accents: `Patient ID` -> `patientid`."""
    bare = unicodedata.normalize("NFKD", name.casefold())
    return "".join(c for c in bare if c.isalnum())


def tokens(name: str) -> set[str]:
    """The words of a name: `ViewPosition`, `view_position` and `View Position` have the same."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return {t for t in (plain(w) for w in re.split(r"[\W_]+", spaced)) if t}


def words(text: str) -> frozenset[str]:
    """The words of a text, each as `plain` makes it."""
    return frozenset(plain(word) for word in text.split())


SPLIT_WORDS = {
    "train": words(
        """train training trainings trained trn tr lern learn learning fit
        entrenamiento entrainement apprentissage treino treinamento addestramento allenamento
        trenowanie treningowy treningowe uczacy traning træning trening egitim tanito trenovaci
        ubung opleiding trainen uczenie opplaering opplæring koulutus opetus antrenare antrenament
        pelatihan latih huanluyen huấnluyện derivation insample
        обучение обучающая тренировочная тренировка тренинг навчання навчальна тренувальна
        εκπαιδευση تدريب אימון प्रशिक्षण ฝึก 训练 訓練 学習 학습 훈련"""
    ),
    "validation": words(
        """validation valid vld validate validating val vali dev devel development tune tuning eval
        evaluation evaluate validierung entwicklung validacion validacao validazione convalida
        evaluacion avaliacao valutazione validatie walidacja walidacyjny walidacyjne validering
        validointi validacia validalas validare gecerleme validasi crossvalidation thamdinh thẩmđịnh
        dogrulama validacni validacios валидация валидационная проверка проверочная валідація
        επικυρωση تحقق אימות 验证 驗證 検証 評価 검증"""
    ),
    "test": words(
        """test tests testing tst te holdout heldout unseen prueba pruebas essai teste verifica
        prova prufung pruefung pruf toets testowanie testowy testowe teszt testovaci
        collaudo proef provning testi testausta testare sinama sınama pengujian uji kiemtra kiểmtra
        outofsample lockbox ensayo
        тест тестовая тестирование тестова δοκιμη ελεγχος اختبار מבחן परीक्षण ทดสอบ
        测试 測試 テスト 테스트 시험"""
    ),
}
# What may stand beside: `train_images`, `Testdaten`, `stage_2_train`, `internal-test`, `val2017`.
_BESIDE = words(
    """set sets data dataset datasets image images img imgs imagenes imagens immagini bilder bild
    split subset folder part sample samples stichprobe
    cohort stage fold final new the daten datensatz satz
    menge gruppe group grupo groupe datos conjunto jeu ensemble dados dati zbior dane internal
    external ext int blind ciega independent official private public only de of d di do dir
    photo photos picture pictures jpg jpeg png tif tiff dcm dicom raw files
    集 数据 数据集 資料 データ 데이터 набор выборка"""
)
_COMPOUND = re.compile(
    "s?(sett?|data|dataset|images|daten|datensatz|satz|menge|stichprobe|bilder|выборка|"
    f"{'|'.join(map(plain, ('集', '用', '용', 'データ', '데이터')))})$"
)


def says_nothing(name: str) -> bool:
    """Whether a folder has a name that any may have: `images`, `data set`; not `train`, `nevus`."""
    found = {re.sub(r"^\d+|\d+$", "", token) for token in tokens(name)} - {""}
    return bool(found) and found <= _BESIDE


def split_word(word: str) -> str | None:
    """train, validation or test, where a word means one of these."""
    whole = re.sub(r"^\d+|\d+$", "", plain(word))
    parts = {re.sub(r"^\d+|\d+$", "", part) for part in tokens(word)} - {""} - _BESIDE
    candidates = (whole, _COMPOUND.sub("", whole), *(parts if len(parts) == 1 else ()))
    candidates = (*candidates, *(_COMPOUND.sub("", part) for part in candidates[2:]))
    for split, known in SPLIT_WORDS.items():
        if any(candidate in known for candidate in candidates):
            return split
    return None
