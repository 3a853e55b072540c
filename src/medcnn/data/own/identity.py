"""Columns that tell who somebody is, by their names, in the languages of many hospitals. A miss
costs more than a false alarm: the column is only not kept as an attribute."""

from __future__ import annotations

import re

from medcnn.data.own.vocabulary import names_someone, plain, tokens
from medcnn.data.split_words import words

# Wherever it stands in the name of a column.
_ALWAYS = words(
    """surname familyname lastname firstname givenname fullname middlename maiden maidenname
    initials forename
    nachname vorname rufname familienname geburtsname geburtsdatum initialen
    prenom prenoms apellido apellidos sobrenome cognome voornaam achternaam tussenvoegsel
    imie nazwisko akte aktennummer aktenzeichen fornamn efternamn fornavn etternavn
    efternavn sukunimi etunimi jmeno prijmeni krestni keresztnev vezeteknev nume prenume
    soyad soyadi soyadı adsoyad фио фамилия отчество прізвище επωνυμο ονοματεπωνυμο
    dob birthdate birthday birthdt geburtstag gebdatum geboortedatum fodelsedatum fodselsdato
    fødselsdato syntymaaika dataurodzenia narozeni nascita nacimiento nascimento naissance
    urodzenia szuletesi nasterii dogumtarihi dogum рождения народження γεννησης
    mrn ssn nhs aadhaar aadhar curp bsn burgerservicenummer svnr sozialversicherungsnummer
    versichertennummer versichertennr versicherungsnummer krankenversicherungsnummer
    krankenkassennummer ahv codicefiscale cpf niss insz pesel personnummer personennummer
    fodselsnummer fødselsnummer henkilotunnus hetu cnp rodnecislo rodne kimlik снилс инн αμκα
    nric hkid mykad iqama ohip medicare nhi passport passeport reisepass pasaporte passaporto
    accession accessionno accessionnumber krankenaktennummer nationalid personalid secu
    phone telephone telefon telefono telefone telemovel cellphone handy handynummer celular
    cellulare fax faxnummer email mail courriel correo phonenumber telefonnummer
    телефон τηλεφωνο
    address adresse anschrift direccion domicilio indirizzo endereco morada adres adress osoite
    адрес адреса διευθυνση wohnort woonplaats strasse hausnummer
    postcode postalcode postleitzahl zipcode plz codepostal nextofkin guardian emergencycontact"""
)
# Too short or too common to stand for a person beside other words.
_ALONE = words(
    """name names nom nombre nome naam nev ad adi adı portable имя ονομα
    nombres nomes numele geb geboren nele neele natoil natail nacido nacida geborenam
    nir nda iep nie nif rut nss cipa sip rg cns cep cap cf taj tc tckimlikno dni cedula urn hcn
    idnumber idno idnr nationalidnumber mobil mobile movil street city zip ort calle rue via mail
    contactno contactnumber healthcardnumber chinumber insurancenumber ipaddress ip
    otherpatientids driverlicence driverlicense emiratesid tesserasanitaria cartaosus
    nachstelle kvnummer kvnr"""
)
_BIRTH = words(
    """birth born naissance nacimiento nac nascimento nasc nascita geboorte urodzenia fodelse
    fodsel fødsel syntyma narozeni szuletesi dogum geburt geb"""
)
_WHEN = words(
    """date datum data fecha f day year place luogo lieu lugar local dt yyyy dd mm name nome nom
    jahr tag ort"""
)
_FULL = words("nom nombre nome name imie naam")
_OF_NAME = words(
    """apellidos completo completa famille naissance complet mae madre mother mothers father fathers
    padre pai vater mutter first last given family middle full birth nazwisko cognome patient
    patienten first1 last1"""
)
# In scripts that put no blanks between words, anywhere; with letters of any other beside it.
_WITHIN = tuple(
    words(
        """姓名 名前 氏名 お名前 病人名 出生日期 出生年月 生年月日 身份证 身分證 証件 证件号 手机
        手機 电话 電話 地址 住址 住所 邮编 郵便番号 フリガナ ふりがな カナ氏名 联系人 マイナンバー
        社保 医保卡 주민등록 성명 이름 환자명 생년월일 전화 휴대폰 주소 우편번호
        الاسم اسم الهوية الميلاد الهاتف العنوان שם זהות לידה טלפון כתובת"""
    )
)
_UID = re.compile(
    "(study|series|sop|instance|frameofreference)+uid|securitesociale|socialsecurity|"
    "segur(idad|anca)social|aufnahmen(r|umm)"
)


def identifies(column: str) -> bool:
    """`DOB`, `geb.`, `MRN`, `Vorname`, `Patient Name`, `Fallnummer`, `住所`: what tells who
    somebody is, even where several share a value; not `lesion_id` or `birth weight`."""
    whole, parts = plain(column), tokens(column) | tokens(column.lower())
    if whole in _ALONE | _ALWAYS or parts & _ALWAYS or _UID.search(whole):
        return True
    of_birth = parts & _BIRTH and (parts & _WHEN or parts <= _BIRTH)
    if of_birth or (parts & _FULL and parts & _OF_NAME):
        return True
    if not whole.isascii() and any(word in whole for word in _WITHIN):
        return True
    return names_someone(column) and not parts & {"lesion", "laesion", "lesions"}
